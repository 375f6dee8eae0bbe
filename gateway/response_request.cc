#include "gateway/response_request.h"

#include <limits>
#include <utility>

#include "base/status_macros.h"
#include "fmt/format.h"
#include "gateway/api_error.h"

namespace corpgrid::gateway {
namespace {

// Calls of one turn of the assistant are one message of a chat.
void AddCall(Json call, Json* messages) {
  const bool goes_on = !messages->empty() && messages->back()["role"] == "assistant" &&
                       messages->back().contains("tool_calls") &&
                       messages->back()["tool_calls"].is_array();  // else the chat's parser tells
  if (!goes_on) {
    messages->push_back(
        {{"role", "assistant"}, {"content", Json()}, {"tool_calls", Json::array()}});
  }
  messages->back()["tool_calls"].push_back(std::move(call));
}

void ReadItem(const Json& json, const std::string& path, Fields* fields, Json* messages) {
  if (!json.is_object()) {
    fields->Fail(BadField(path, path + " has to be an object"));
    return;
  }
  Fields item(json, path);
  const std::string type =
      item.Word("type", "message", {"message", "function_call", "function_call_output"});
  if (!item.ok()) {
    fields->Fail(item.Finish());
    return;
  }
  if (type == "message") {  // the chat's parser knows it
    Json message = json;
    message.erase("type");
    messages->push_back(std::move(message));
    return;
  }
  item.Ignore({"id", "status"});
  item.Require("call_id");
  const std::string id = item.Text("call_id");
  if (type == "function_call") {
    item.Require("name");
    item.Require("arguments");
    AddCall({{"id", id},
             {"type", "function"},
             {"function", {{"name", item.Text("name")}, {"arguments", item.Text("arguments")}}}},
            messages);
  } else {
    item.Require("output");
    const Json* output = item.Any("output");
    if (output != nullptr && !output->is_string() && !output->is_array()) {
      item.Fail("output", "has to be a string or a list of parts");
    } else if (output != nullptr) {  // the chat's parser knows parts
      messages->push_back({{"role", "tool"}, {"tool_call_id", id}, {"content", *output}});
    }
  }
  fields->Fail(item.Finish());
}

Json ReadInput(Fields* fields) {
  Json messages = Json::array();
  if (const std::string text = fields->Text("instructions"); !text.empty()) {
    messages.push_back({{"role", "system"}, {"content", text}});
  }
  fields->Require("input");
  const Json* input = fields->Any("input");
  if (input == nullptr) return messages;
  if (input->is_string()) {
    messages.push_back({{"role", "user"}, {"content", *input}});
  } else if (!input->is_array() || input->empty()) {
    fields->Fail("input", "has to be a string, or a list of at least one item");
  } else {
    for (size_t i = 0; i < input->size(); ++i) {
      ReadItem((*input)[i], fmt::format("input[{}]", i), fields, &messages);
    }
  }
  return messages;
}

// This API writes functions flat.
Json ReadFunctions(Fields* fields, const Json* list) {
  Json tools = Json::array();
  for (size_t i = 0; list != nullptr && i < list->size(); ++i) {
    Fields tool((*list)[i], fmt::format("tools[{}]", i));
    tool.Require("type");
    tool.Word("type", "function", {"function"});
    fields->Fail(tool.ok() ? absl::OkStatus() : tool.Finish());
    if (!fields->ok()) break;
    Json function = (*list)[i];
    function.erase("type");
    tools.push_back({{"type", "function"}, {"function", std::move(function)}});
  }
  return tools;
}

void ReadText(Fields* fields, corpgrid::v1::GenerateRequest* format) {
  const Json* text = fields->Object("text");
  if (text == nullptr) return;
  Fields inner(*text, "text");
  ReadFormat(&inner, "format", /*flat=*/true, format);
  inner.Word("verbosity", "medium", {"medium"});  // the usual one; models know no others
  fields->Fail(inner.Finish());
}

// A model reasons as it was trained to.
void ReadReasoning(Fields* fields) {
  const Json* given = fields->Object("reasoning");
  if (given == nullptr) return;
  Fields reasoning(*given, "reasoning");
  for (const char* name : {"effort", "summary", "generate_summary"}) {
    if (reasoning.Any(name) != nullptr) reasoning.Fail(name, "can only be null here");
  }
  fields->Fail(reasoning.Finish());
}

void RefuseWhatIsKept(Fields* fields) {
  for (const char* name : {"previous_response_id", "conversation", "prompt"}) {
    if (fields->Any(name) != nullptr) {
      fields->Fail(name, "is not possible: nothing is kept here; send the whole input");
    }
  }
  for (const char* name : {"store", "background"}) {
    if (fields->Bool(name, false)) fields->Fail(name, "is not possible: nothing is kept here");
  }
  const Json* include = fields->List("include");
  if (include != nullptr && !include->empty()) fields->Fail("include", "can only be empty here");
  fields->Word("truncation", "disabled", {"disabled"});
}

}  // namespace

absl::StatusOr<ResponseRequest> ParseResponseRequest(const Json& body) {
  Fields fields(body);
  Json chat = Json::object();
  chat["messages"] = ReadInput(&fields);
  if (const auto most = fields.Integer("max_output_tokens", 0, 1, std::numeric_limits<int>::max());
      most > 0) {
    chat["max_tokens"] = most;
  }
  const Json* tools = fields.List("tools");
  if (tools != nullptr) chat["tools"] = ReadFunctions(&fields, tools);
  const Json* choice = fields.Any("tool_choice");
  if (choice != nullptr && choice->is_object()) {
    Fields named(*choice, "tool_choice");
    named.Word("type", "function", {"function"});
    const std::string name = named.Text("name");
    fields.Fail(named.Finish());
    chat["tool_choice"] = {{"type", "function"}, {"function", {{"name", name}}}};
  } else if (choice != nullptr) {
    chat["tool_choice"] = *choice;
  }
  ResponseRequest request;
  corpgrid::v1::GenerateRequest format;
  ReadText(&fields, &format);
  ReadReasoning(&fields);
  // It bounds the tools that a server runs by itself; here there are none.
  fields.Integer("max_tool_calls", 0, 0, std::numeric_limits<int>::max());
  for (const char* name :
       {"model", "temperature", "top_p", "stream", "parallel_tool_calls", "metadata", "user",
        "safety_identifier", "prompt_cache_key", "service_tier", "seed", "top_k", "min_p"}) {
    if (const Json* value = fields.Any(name)) chat[name] = *value;
  }
  RefuseWhatIsKept(&fields);
  RETURN_IF_ERROR(fields.Finish());
  ASSIGN_OR_RETURN(request.chat, ParseChatRequest(chat));
  if (request.chat.tools.any() && (format.json_object() || !format.grammar().empty())) {
    return BadField("text.format",
                    "text.format other than text is possible only without tools, or with "
                    "tool_choice \"none\"");
  }
  if (format.json_object()) request.chat.generate.set_json_object(true);
  if (!format.grammar().empty()) request.chat.generate.set_grammar(format.grammar());
  const auto echo = [&](const char* name, const Json& absent) {
    request.echo[name] = body.contains(name) && !body[name].is_null() ? body[name] : absent;
  };
  echo("instructions", Json());
  echo("max_output_tokens", Json());
  echo("max_tool_calls", Json());
  echo("metadata", Json::object());
  echo("parallel_tool_calls", true);
  echo("temperature", 1);
  echo("text", {{"format", {{"type", "text"}}}});
  echo("tool_choice", "auto");
  echo("tools", Json::array());
  echo("top_p", 1);
  return request;
}

}  // namespace corpgrid::gateway
