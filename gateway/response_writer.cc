#include "gateway/response_writer.h"

#include "fmt/format.h"

namespace corpgrid::gateway {

ResponseWriter::ResponseWriter(Json response, std::string id)
    : response_(std::move(response)), id_(std::move(id)) {
  response_["status"] = "in_progress";
  response_["error"] = Json();
  response_["incomplete_details"] = Json();
  response_["output"] = Json::array();
  response_["usage"] = Json();
}

void ResponseWriter::Emit(const char* type, const Json& data) {
  Json event = {{"type", type}, {"sequence_number", sequence_++}};
  event.update(data);
  events_.emplace_back(type, Dump(event));
}

// `data` of the item that is being written.
void ResponseWriter::EmitOfItem(const char* type, const Json& data) {
  Json event = {{"item_id", item_["id"]}, {"output_index", response_["output"].size()}};
  event.update(data);
  Emit(type, event);
}

std::vector<ResponseWriter::Event> ResponseWriter::Begin() {
  Emit("response.created", {{"response", response_}});
  Emit("response.in_progress", {{"response", response_}});
  return std::exchange(events_, {});
}

void ResponseWriter::OpenText() {
  item_ = {{"type", "message"},
           {"id", fmt::format("msg_{}_{}", id_, response_["output"].size())},
           {"status", "in_progress"},
           {"role", "assistant"},
           {"content", Json::array()}};
  Emit("response.output_item.added",
       {{"output_index", response_["output"].size()}, {"item", item_}});
  const Json part = {{"type", "output_text"}, {"text", ""}, {"annotations", Json::array()}};
  EmitOfItem("response.content_part.added", {{"content_index", 0}, {"part", part}});
  item_["content"].push_back(part);
}

void ResponseWriter::OpenCall(const Json& call) {
  item_ = {{"type", "function_call"},
           {"id", fmt::format("fc_{}_{}", id_, response_["output"].size())},
           {"status", "in_progress"},
           {"call_id", call["id"]},
           {"name", call["function"]["name"]},
           {"arguments", ""}};
  Emit("response.output_item.added",
       {{"output_index", response_["output"].size()}, {"item", item_}});
}

void ResponseWriter::CloseItem() {
  if (item_.is_null()) return;
  if (item_["type"] == "message") {
    const Json part = item_["content"][0];
    EmitOfItem("response.output_text.done",
               {{"content_index", 0}, {"text", part["text"]}, {"logprobs", Json::array()}});
    EmitOfItem("response.content_part.done", {{"content_index", 0}, {"part", part}});
  } else {
    EmitOfItem("response.function_call_arguments.done",
               {{"name", item_["name"]}, {"arguments", item_["arguments"]}});
  }
  item_["status"] = finish_reason_ == "length" ? "incomplete" : "completed";
  Emit("response.output_item.done",
       {{"output_index", response_["output"].size()}, {"item", item_}});
  response_["output"].push_back(std::exchange(item_, Json()));
}

std::vector<ResponseWriter::Event> ResponseWriter::Add(const ChatDeltas::Delta& delta) {
  if (delta.delta.contains("content")) {
    if (!item_.is_null() && item_["type"] != "message") CloseItem();
    if (item_.is_null()) OpenText();
    const Json& text = delta.delta["content"];
    item_["content"][0]["text"].get_ref<std::string&>() += text.get_ref<const std::string&>();
    EmitOfItem("response.output_text.delta",
               {{"content_index", 0}, {"delta", text}, {"logprobs", Json::array()}});
  }
  if (delta.delta.contains("tool_calls")) {
    const Json& call = delta.delta["tool_calls"][0];
    const std::string arguments = call["function"].value("arguments", "");
    if (call.contains("id")) {
      CloseItem();
      OpenCall(call);
    }
    item_["arguments"].get_ref<std::string&>() += arguments;
    if (!arguments.empty()) {
      EmitOfItem("response.function_call_arguments.delta", {{"delta", arguments}});
    }
  }
  if (!delta.finish_reason.empty()) finish_reason_ = delta.finish_reason;
  return std::exchange(events_, {});
}

std::vector<ResponseWriter::Event> ResponseWriter::End(const Json& usage) {
  if (item_.is_null() && response_["output"].empty()) OpenText();
  CloseItem();
  const bool cut = finish_reason_ == "length";
  response_["status"] = cut ? "incomplete" : "completed";
  if (cut) response_["incomplete_details"] = {{"reason", "max_output_tokens"}};
  response_["usage"] = {{"input_tokens", usage["prompt_tokens"]},
                        {"input_tokens_details", usage["prompt_tokens_details"]},
                        {"output_tokens", usage["completion_tokens"]},
                        {"output_tokens_details", {{"reasoning_tokens", 0}}},
                        {"total_tokens", usage["total_tokens"]}};
  Emit(cut ? "response.incomplete" : "response.completed", {{"response", response_}});
  return std::exchange(events_, {});
}

}  // namespace corpgrid::gateway
