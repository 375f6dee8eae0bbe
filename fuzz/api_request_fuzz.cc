// Requests to the OpenAI API, up to the grammar of their schemas and tools.
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "gateway/chat_request.h"
#include "gateway/completion_request.h"
#include "gateway/tools.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  namespace gateway = corpgrid::gateway;
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const auto body = gateway::ParseObject(text);
  if (!body.ok()) return 0;
  (void)gateway::ParseCompletionRequest(*body);
  const auto chat = gateway::ParseChatRequest(*body);
  if (!chat.ok() || !chat->tools.any()) return 0;
  for (const char* family : {"", "<tool_call>", "[TOOL_CALLS]"}) {
    (void)gateway::ToolGrammar(chat->tools, gateway::FormatOf(family));
  }
  return 0;
}
