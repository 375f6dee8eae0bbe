#include "gateway/chat_deltas.h"

#include <string_view>
#include <utility>

#include "absl/hash/hash.h"
#include "gateway/generation.h"

namespace corpgrid::gateway {

namespace pb = corpgrid::v1;

namespace {

// Mistral's templates refuse a call whose id is not of nine letters and digits.
std::string CallId(const std::string& answer, uint32_t choice, size_t call) {
  constexpr std::string_view kDigits =
      "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
  uint64_t rest = absl::HashOf(answer, choice, call);
  std::string id(9, '0');
  for (char& digit : id) {
    digit = kDigits[rest % kDigits.size()];
    rest /= kDigits.size();
  }
  return id;
}

}  // namespace

ChatDeltas::ChatDeltas(uint32_t choices, const ToolFormat* format, const Tools& tools,
                       bool logprobs, std::string id)
    : logprobs_(logprobs), id_(std::move(id)) {
  if (format == nullptr) return;
  for (uint32_t i = 0; i < choices; ++i) readers_.emplace_back(*format, tools);
}

void ChatDeltas::Add(uint32_t choice, const std::vector<ToolCallReader::Part>& parts,
                     std::vector<Delta>* deltas) {
  for (const ToolCallReader::Part& part : parts) {
    Delta delta{.choice = choice};
    Json call = {{"index", part.call}};
    switch (part.kind) {
      case ToolCallReader::Part::Kind::kText:
        delta.delta["content"] = part.text;
        deltas->push_back(std::move(delta));
        continue;
      case ToolCallReader::Part::Kind::kName:
        call["id"] = CallId(id_, choice, part.call);
        call["type"] = "function";
        call["function"] = {{"name", part.text}, {"arguments", ""}};
        break;
      case ToolCallReader::Part::Kind::kArguments:
        call["function"] = {{"arguments", part.text}};
        break;
    }
    delta.delta["tool_calls"] = Json::array({std::move(call)});
    deltas->push_back(std::move(delta));
  }
}

void ChatDeltas::AddText(uint32_t choice, const std::string& text, std::vector<Delta>* deltas) {
  if (text.empty()) return;
  if (!readers_.empty()) {
    Add(choice, readers_[choice].Push(text), deltas);
    return;
  }
  Delta delta{.choice = choice};
  delta.delta["content"] = text;
  deltas->push_back(std::move(delta));
}

std::vector<ChatDeltas::Delta> ChatDeltas::Read(const pb::GenerateResponse& response) {
  std::vector<Delta> deltas;
  for (const pb::Piece& piece : response.pieces()) {
    const size_t before = deltas.size();
    AddText(piece.choice(), piece.text(), &deltas);
    if (!logprobs_) continue;
    // A token may show nothing yet: its logprob does not wait for the rest of its character.
    if (deltas.size() == before) deltas.push_back(Delta{.choice = piece.choice()});
    deltas[before].logprobs = {{"content", Json::array({ChatLogprob(piece)})}, {"refusal", Json()}};
  }
  for (const pb::AnswerEnd& end : response.ends()) {
    AddText(end.choice(), end.text(), &deltas);
    Delta last{.choice = end.choice(), .finish_reason = std::string(FinishReason(end))};
    if (!readers_.empty()) {
      ToolCallReader& reader = readers_[end.choice()];
      Add(end.choice(), reader.Finish(), &deltas);
      // A stop string may have cut it within a call.
      if (reader.calls() > 0 && !reader.in_call() && last.finish_reason == "stop") {
        last.finish_reason = "tool_calls";
      }
    }
    deltas.push_back(std::move(last));
  }
  return deltas;
}

void ChatChoices::Add(const ChatDeltas::Delta& delta) {
  Choice& choice = choices_[delta.choice];
  if (delta.delta.contains("content")) {
    choice.content += delta.delta["content"].get_ref<const std::string&>();
    choice.has_content = true;
  }
  if (delta.delta.contains("tool_calls")) {
    Json call = delta.delta["tool_calls"][0];
    if (call.contains("id")) {
      call.erase("index");
      choice.tool_calls.push_back(std::move(call));
    } else {
      Json& arguments = choice.tool_calls.back()["function"]["arguments"];
      arguments.get_ref<std::string&>() +=
          call["function"]["arguments"].get_ref<const std::string&>();
    }
  }
  if (!delta.logprobs.is_null()) {
    if (choice.logprobs.is_null()) {
      choice.logprobs = delta.logprobs;
    } else {
      choice.logprobs["content"].push_back(delta.logprobs["content"][0]);
    }
  }
  if (!delta.finish_reason.empty()) choice.finish_reason = delta.finish_reason;
}

Json ChatChoices::ToJson() const {
  Json all = Json::array();
  for (size_t i = 0; i < choices_.size(); ++i) {
    const Choice& choice = choices_[i];
    Json message = {{"role", "assistant"}, {"content", choice.content}, {"refusal", Json()}};
    if (!choice.tool_calls.empty()) {
      if (!choice.has_content) message["content"] = Json();
      message["tool_calls"] = choice.tool_calls;
    }
    all.push_back({{"index", i},
                   {"message", std::move(message)},
                   {"logprobs", choice.logprobs},
                   {"finish_reason", choice.finish_reason}});
  }
  return all;
}

}  // namespace corpgrid::gateway
