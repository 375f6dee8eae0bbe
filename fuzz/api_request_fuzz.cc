// Requests to the OpenAI API, up to the grammar of their schemas and tools.
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "gateway/chat_request.h"
#include "gateway/completion_request.h"
#include "gateway/response_request.h"
#include "gateway/tools.h"

namespace {

namespace gateway = corpgrid::gateway;

void BuildGrammars(const gateway::Tools& tools) {
  if (!tools.any()) return;
  for (const char* family : {"", "<tool_call>", "[TOOL_CALLS]"}) {
    (void)gateway::ToolGrammar(tools, gateway::FormatOf(family));
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const auto body = gateway::ParseObject(text);
  if (!body.ok()) return 0;
  (void)gateway::ParseCompletionRequest(*body);
  gateway::Fields embedding(*body);  // whose other fields are words and numbers
  (void)gateway::ReadPrompts(&embedding, "input", /*most=*/2048);
  const auto chat = gateway::ParseChatRequest(*body);
  if (chat.ok()) BuildGrammars(chat->tools);
  const auto response = gateway::ParseResponseRequest(*body);
  if (response.ok()) BuildGrammars(response->chat.tools);
  return 0;
}
