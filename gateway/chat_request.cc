#include "gateway/chat_request.h"

#include <algorithm>
#include <limits>

#include "base/status_macros.h"
#include "fmt/format.h"
#include "gateway/api_error.h"
#include "gateway/gbnf.h"
#include "gateway/json_schema.h"
#include "gateway/sampling_fields.h"

namespace corpgrid::gateway {
namespace {

constexpr int64_t kMaxTokens = std::numeric_limits<int32_t>::max();
constexpr int64_t kMaxTopLogprobs = 20;

// A string, or a list of parts that are texts, as one string.
std::string ReadContent(Fields* message, Fields* fields) {
  const Json* content = message->Any("content");
  if (content == nullptr) return "";
  if (content->is_string()) return content->get<std::string>();
  if (!content->is_array()) {
    message->Fail("content", "has to be a string or a list of parts");
    return "";
  }
  std::string all;
  for (size_t i = 0; i < content->size(); ++i) {
    Fields part((*content)[i], fmt::format("{}[{}]", message->PathOf("content"), i));
    part.Word("type", "", {"text", "input_text", "output_text"});
    part.Ignore({"annotations", "logprobs"});
    all += part.Text("text");
    fields->Fail(part.Finish());
  }
  return all;
}

Json ReadToolCalls(Fields* message, Fields* fields) {
  Json calls = Json::array();
  const Json* list = message->List("tool_calls");
  for (size_t i = 0; list != nullptr && i < list->size(); ++i) {
    const std::string path = fmt::format("{}[{}]", message->PathOf("tool_calls"), i);
    Fields call((*list)[i], path);
    const std::string id = call.Text("id");
    call.Word("type", "function", {"function"});
    call.Require("function");
    const Json none = Json::object();
    const Json* function = call.Object("function");
    Fields inner(function == nullptr ? none : *function, path + ".function");
    inner.Require("name");
    inner.Require("arguments");
    const std::string name = inner.Text("name"), text = inner.Text("arguments");
    fields->Fail(call.Finish());
    fields->Fail(inner.Finish());
    if (!fields->ok()) return calls;
    if (!ParseObject(text).ok()) {
      fields->Fail(BadField(path, path + ".function.arguments has to be a JSON object, as text"));
    }
    calls.push_back(
        {{"id", id}, {"type", "function"}, {"function", {{"name", name}, {"arguments", text}}}});
  }
  return calls;
}

void ReadMaxTokens(Fields* fields, ChatRequest* request) {
  const int64_t old_name = fields->Integer("max_tokens", 0, 1, kMaxTokens);
  const int64_t new_name = fields->Integer("max_completion_tokens", old_name, 1, kMaxTokens);
  if (fields->Has("max_tokens") && old_name != new_name) {
    fields->Fail("max_tokens", "is not the same as max_completion_tokens; give one of them");
  }
  request->generate.set_max_tokens(static_cast<uint32_t>(new_name));
}

void ReadLogprobs(Fields* fields, ChatRequest* request) {
  request->logprobs = fields->Bool("logprobs", false);
  const auto top = fields->Integer("top_logprobs", 0, 0, kMaxTopLogprobs);
  if (top > 0 && !request->logprobs) {
    fields->Fail("top_logprobs", "needs logprobs to be true");
  }
  request->generate.mutable_sampling()->set_logprobs(request->logprobs);
  request->generate.mutable_sampling()->set_top_logprobs(static_cast<uint32_t>(top));
}

}  // namespace

Json ReadMessages(Fields* fields, std::string_view name) {
  Json messages = Json::array();
  fields->Require(name);
  const Json* list = fields->List(name);
  if (list != nullptr && list->empty()) fields->Fail(name, "is empty; it has at least one");
  for (size_t i = 0; list != nullptr && i < list->size() && fields->ok(); ++i) {
    Fields message((*list)[i], fmt::format("{}[{}]", name, i));
    message.Require("role");
    message.Ignore({"refusal", "annotations", "type", "id", "status"});
    std::string role =
        message.Word("role", "user", {"system", "developer", "user", "assistant", "tool"});
    if (role == "developer") role = "system";
    Json out = {{"role", role}, {"content", ReadContent(&message, fields)}};
    if (const std::string who = message.Text("name"); !who.empty()) out["name"] = who;
    if (role == "assistant") {
      Json calls = ReadToolCalls(&message, fields);
      if (!calls.empty()) out["tool_calls"] = std::move(calls);
    } else {
      message.Require("content");
    }
    if (role == "tool") {
      message.Require("tool_call_id");
      out["tool_call_id"] = message.Text("tool_call_id");
    }
    fields->Fail(message.Finish());
    messages.push_back(std::move(out));
  }
  return messages;
}

void ReadStream(Fields* fields, bool* stream, bool* include_usage) {
  *stream = fields->Bool("stream", false);
  const Json* given = fields->Object("stream_options");
  if (given == nullptr) return;
  if (!*stream) fields->Fail("stream_options", "needs stream to be true");
  Fields options(*given, "stream_options");
  options.Ignore({"include_obfuscation"});
  *include_usage = options.Bool("include_usage", false);
  fields->Fail(options.Finish());
}

void ReadFormat(Fields* fields, std::string_view name, bool flat,
                corpgrid::v1::GenerateRequest* request) {
  const Json* given = fields->Object(name);
  if (given == nullptr) return;
  const std::string path = fields->PathOf(name);
  Fields format(*given, path);
  format.Require("type");
  const std::string type = format.Word("type", "text", {"text", "json_object", "json_schema"});
  if (type == "json_object") request->set_json_object(true);
  if (type == "json_schema") {
    const Json* outer = flat ? given : format.Object("json_schema");
    if (!flat) format.Require("json_schema");
    if (outer == nullptr) return fields->Fail(format.Finish());
    Fields inner(*outer, flat ? path : path + ".json_schema");
    Fields& where = flat ? format : inner;
    where.Require("name");
    where.Text("name");
    where.Text("description");
    where.Bool("strict", true);
    where.Require("schema");
    const Json* schema = where.Object("schema");
    if (!flat) fields->Fail(inner.Finish());
    if (schema != nullptr) {
      Gbnf grammar;
      const absl::StatusOr<std::string> rule =
          SchemaGrammar(*schema, where.PathOf("schema"), &grammar).Build();
      fields->Fail(rule.status());
      if (!rule.ok()) return;
      absl::StatusOr<std::string> text = grammar.Text(*rule, where.PathOf("schema"));
      fields->Fail(text.status());
      if (text.ok()) request->set_grammar(*std::move(text));
    }
  }
  fields->Fail(format.Finish());
}

void ReadDescription(Fields* fields) {
  for (const char* name : {"user", "safety_identifier", "prompt_cache_key"}) fields->Text(name);
  const Json* metadata = fields->Object("metadata");
  if (metadata == nullptr) return;
  const auto is_text = [](const Json& value) { return value.is_string(); };
  if (!std::all_of(metadata->begin(), metadata->end(), is_text)) {
    fields->Fail("metadata", "has to be an object whose values are strings");
  }
}

absl::StatusOr<ChatRequest> ParseChatRequest(const Json& body) {
  ChatRequest request;
  Fields fields(body);
  fields.Require("model");
  request.model = fields.Text("model");
  request.messages = Dump(ReadMessages(&fields, "messages"));
  ReadSampling(&fields, &request.generate);
  ReadMaxTokens(&fields, &request);
  ReadLogprobs(&fields, &request);
  ReadStream(&fields, &request.stream, &request.include_usage);
  ReadFormat(&fields, "response_format", /*flat=*/false, &request.generate);
  request.tools = ReadTools(&fields);
  if (request.tools.any() &&
      request.generate.format_case() != corpgrid::v1::GenerateRequest::FORMAT_NOT_SET) {
    fields.Fail("response_format",
                "other than text is possible only without tools, or with "
                "tool_choice \"none\"");
  }
  ReadDescription(&fields);
  if (fields.Bool("store", false)) fields.Fail("store", "is not possible: nothing is kept here");
  fields.Word("service_tier", "auto", {"auto", "default"});
  RETURN_IF_ERROR(fields.Finish());
  return request;
}

}  // namespace corpgrid::gateway
