#include "inference/llama/chat_template.h"

#include <exception>
#include <minja/chat-template.hpp>
#include <string_view>
#include <utility>

#include "base/status_macros.h"
#include "fmt/format.h"

namespace corpgrid::inference {
namespace {

using Json = nlohmann::ordered_json;

constexpr int kMaxDepth = 64;  // the template engine recurses

// `kind`: "list" or "object". Nothing for an empty text.
absl::StatusOr<Json> ParseJson(std::string_view name, const std::string& text,
                               std::string_view kind) {
  if (text.empty()) return Json();
  bool too_deep = false;
  Json json = Json::parse(
      text,
      [&](int depth, Json::parse_event_t, Json&) {
        too_deep = too_deep || depth > kMaxDepth;
        return !too_deep;
      },
      /*allow_exceptions=*/false);
  if (too_deep) {
    return absl::InvalidArgumentError(
        fmt::format("{} is nested more than {} deep", name, kMaxDepth));
  }
  if (kind == "list" ? !json.is_array() : !json.is_object()) {
    return absl::InvalidArgumentError(fmt::format("{} is no JSON {}", name, kind));
  }
  return json;
}

}  // namespace

ChatTemplate::ChatTemplate(std::unique_ptr<minja::chat_template> parsed)
    : parsed_(std::move(parsed)) {}
ChatTemplate::ChatTemplate(ChatTemplate&&) noexcept = default;
ChatTemplate::~ChatTemplate() = default;

absl::StatusOr<ChatTemplate> ChatTemplate::Parse(const std::string& source,
                                                 const std::string& start, const std::string& end) {
  try {
    return ChatTemplate(std::make_unique<minja::chat_template>(source, start, end));
  } catch (const std::exception& error) {
    return absl::InvalidArgumentError(
        fmt::format("the model's chat template cannot be used: {}", error.what()));
  }
}

absl::StatusOr<std::string> ChatTemplate::Render(const Chat& chat) const {
  minja::chat_template_inputs inputs;
  ASSIGN_OR_RETURN(inputs.messages, ParseJson("messages", chat.messages, "list"));
  ASSIGN_OR_RETURN(inputs.tools, ParseJson("tools", chat.tools, "list"));
  ASSIGN_OR_RETURN(inputs.extra_context, ParseJson("variables", chat.variables, "object"));
  if (!inputs.messages.is_array() || inputs.messages.empty()) {
    return absl::InvalidArgumentError("messages is empty; a conversation has at least one");
  }
  for (const Json& message : inputs.messages) {
    if (message.is_object() && message.contains("role") && message["role"].is_string()) continue;
    return absl::InvalidArgumentError("messages has one without a \"role\"");
  }
  inputs.add_generation_prompt = chat.begins_answer;
  try {
    return parsed_->apply(inputs);
  } catch (const std::exception& error) {
    return absl::InvalidArgumentError(
        fmt::format("the model's chat template refuses this conversation: {}", error.what()));
  }
}

}  // namespace corpgrid::inference
