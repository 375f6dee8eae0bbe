#include "cli/json.h"

#include <algorithm>
#include <cctype>

#include "base/text.h"
#include "cli/table.h"
#include "fmt/format.h"
#include "google/protobuf/descriptor.h"

namespace corpgrid::cli {
namespace {

using google::protobuf::FieldDescriptor;
using google::protobuf::Message;

std::string LowerCase(std::string text) {
  std::transform(text.begin(), text.end(), text.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return text;
}

Json BytesJson(const FieldDescriptor& field, const std::string& bytes) {
  const bool is_text = field.name() == "stdout_tail" || field.name() == "stderr_tail";
  return is_text ? bytes : Hex(bytes);
}

// One value: of a plain field, or with `index` of a repeated one.
Json ValueJson(const Message& message, const FieldDescriptor& field, int index) {
  const auto* reflect = message.GetReflection();
  const bool repeated = field.is_repeated();
#define CG_GET(type)                                             \
  (repeated ? reflect->GetRepeated##type(message, &field, index) \
            : reflect->Get##type(message, &field))
  switch (field.cpp_type()) {
    case FieldDescriptor::CPPTYPE_INT32:
      return CG_GET(Int32);
    case FieldDescriptor::CPPTYPE_INT64:
      return CG_GET(Int64);
    case FieldDescriptor::CPPTYPE_UINT32:
      return CG_GET(UInt32);
    case FieldDescriptor::CPPTYPE_UINT64:
      return CG_GET(UInt64);
    case FieldDescriptor::CPPTYPE_DOUBLE:
      return CG_GET(Double);
    case FieldDescriptor::CPPTYPE_FLOAT:
      return CG_GET(Float);
    case FieldDescriptor::CPPTYPE_BOOL:
      return CG_GET(Bool);
    case FieldDescriptor::CPPTYPE_ENUM:
      return LowerCase(CG_GET(Enum)->name());
    case FieldDescriptor::CPPTYPE_STRING: {
      const std::string text = CG_GET(String);
      return field.type() == FieldDescriptor::TYPE_BYTES ? BytesJson(field, text) : Json(text);
    }
    case FieldDescriptor::CPPTYPE_MESSAGE:
      break;
  }
  return ToJson(repeated ? reflect->GetRepeatedMessage(message, &field, index)
                         : reflect->GetMessage(message, &field));
#undef CG_GET
}

std::string Quoted(std::string_view text) {
  return Json(text).dump(-1, ' ', false, Json::error_handler_t::replace);
}

std::string QuotedList(const std::vector<std::string>& texts) {
  std::string list;
  for (const std::string& text : texts) {
    list += fmt::format("{}{}", list.empty() ? "" : ", ", Quoted(text));
  }
  return fmt::format("[{}]", list);
}

std::string BackendList(const std::vector<job::Backend>& backends) {
  std::string list;
  for (const job::Backend backend : backends) {
    list += fmt::format("{}{}", list.empty() ? "" : ", ", job::ToText(backend));
  }
  return fmt::format("[{}]", list);
}

Json ValidatorToJson(const job::Redundancy& redundancy) {
  const job::Tolerance& tolerance = redundancy.tolerance;
  if (redundancy.validator == job::Validator::kNumeric) {
    return {{"numeric", std::string(job::ToText(tolerance.format))},
            {"absolute", tolerance.absolute},
            {"relative", tolerance.relative}};
  }
  if (redundancy.validator == job::Validator::kProgram) return {{"command", redundancy.compare}};
  return std::string(job::ToText(redundancy.validator));
}

std::string ValidatorToYaml(const job::Redundancy& redundancy) {
  const job::Tolerance& tolerance = redundancy.tolerance;
  if (redundancy.validator == job::Validator::kNumeric) {
    return fmt::format("{{numeric: {}, absolute: {}, relative: {}}}", job::ToText(tolerance.format),
                       tolerance.absolute, tolerance.relative);
  }
  if (redundancy.validator == job::Validator::kProgram) {
    return fmt::format("{{command: {}}}", QuotedList(redundancy.compare));
  }
  return std::string(job::ToText(redundancy.validator));
}

}  // namespace

Json ToJson(const Message& message) {
  Json json = Json::object();
  const auto* descriptor = message.GetDescriptor();
  for (int i = 0; i < descriptor->field_count(); ++i) {
    const FieldDescriptor& field = *descriptor->field(i);
    if (!field.is_repeated()) {
      const bool missing =
          field.has_optional_keyword() && !message.GetReflection()->HasField(message, &field);
      json[field.name()] = missing ? Json(nullptr) : ValueJson(message, field, 0);
      continue;
    }
    Json list = Json::array();
    const int size = message.GetReflection()->FieldSize(message, &field);
    for (int j = 0; j < size; ++j) list.push_back(ValueJson(message, field, j));
    json[field.name()] = std::move(list);
  }
  return json;
}

Json ToJson(const job::JobSpec& spec) {
  const job::JobFields& f = *spec;
  Json inputs = Json::array();
  for (const job::Input& input : f.inputs) {
    inputs.push_back(
        {{"name", input.name}, {"hash", input.hash.Hex()}, {"size_bytes", input.size_bytes}});
  }
  Json backends = Json::array();
  for (const job::Backend backend : f.resources.backends) {
    backends.push_back(std::string(job::ToText(backend)));
  }
  Json json;
  json["name"] = f.name;
  json["run"] = {{"command", f.command}};
  json["shards"] = f.shards;
  json["inputs"] = std::move(inputs);
  json["outputs"] = f.outputs;
  json["env"] = f.env;
  json["resources"] = {{"cpus", f.resources.cpus},
                       {"memory_bytes", f.resources.memory_bytes},
                       {"vram_bytes", f.resources.vram_bytes},
                       {"backend", std::move(backends)}};
  json["redundancy"] = {{"replicas", f.redundancy.replicas},
                        {"quorum", f.redundancy.quorum},
                        {"validator", ValidatorToJson(f.redundancy)},
                        {"distinct", std::string(job::ToText(f.redundancy.distinct))}};
  if (f.redundancy.max_error > 0) json["redundancy"]["max_error"] = f.redundancy.max_error;
  json["limits"] = {{"wall_ms", f.limits.wall_ms},
                    {"output_bytes", f.limits.output_bytes},
                    {"disk_bytes", f.limits.disk_bytes},
                    {"processes", f.limits.processes},
                    {"network", f.limits.network}};
  json["retries"] = f.retries;
  json["priority"] = f.priority;
  json["project"] = f.project;
  if (f.placement != job::Placement()) {
    json["placement"] = {{"labels", f.placement.labels},
                         {"sites", f.placement.sites},
                         {"attested", f.placement.attested}};
  }
  if (!f.after.empty()) json["after"] = f.after;
  if (f.deadline_ms > 0) json["deadline_ms"] = f.deadline_ms;
  if (f.checkpoint) {
    json["checkpoint"] = {{"folder", f.checkpoint->folder}, {"every_ms", f.checkpoint->every_ms}};
  }
  return json;
}

std::string ToYaml(const job::JobSpec& spec) {
  const job::JobFields& f = *spec;
  std::string env;
  for (const auto& [name, value] : f.env) {
    env += fmt::format("{}{}: {}", env.empty() ? "" : ", ", name, Quoted(value));
  }
  std::string text = fmt::format("name: {}\nrun: {{command: {}}}\n", f.name, QuotedList(f.command));
  if (f.inputs.empty()) {
    text += fmt::format("shards: {}\n", f.shards);
  } else {
    uint64_t bytes = 0;
    for (const job::Input& input : f.inputs) bytes += input.size_bytes;
    text += fmt::format("inputs: {} files, {}\n", f.inputs.size(), FormatBytes(bytes));
  }
  text += fmt::format("outputs: {}\n", QuotedList(f.outputs));
  if (!env.empty()) text += fmt::format("env: {{{}}}\n", env);
  text += fmt::format("resources: {{cpus: {}, memory: {}, vram: {}, backend: {}}}\n",
                      f.resources.cpus, FormatBytes(f.resources.memory_bytes),
                      FormatBytes(f.resources.vram_bytes), BackendList(f.resources.backends));
  const std::string copies =
      f.redundancy.max_error > 0
          ? fmt::format("max_error: {}", f.redundancy.max_error)
          : fmt::format("replicas: {}, quorum: {}", f.redundancy.replicas, f.redundancy.quorum);
  text += fmt::format("redundancy: {{{}, validator: {}, distinct: {}}}\n", copies,
                      ValidatorToYaml(f.redundancy), job::ToText(f.redundancy.distinct));
  text += fmt::format("limits: {{wall: {}, output: {}, disk: {}, processes: {}, network: {}}}\n",
                      FormatDuration(f.limits.wall_ms), FormatBytes(f.limits.output_bytes),
                      FormatBytes(f.limits.disk_bytes), f.limits.processes, f.limits.network);
  text += fmt::format("retries: {}\n", f.retries);
  if (f.priority != 0) text += fmt::format("priority: {}\n", f.priority);
  if (f.project != job::kDefaultProject) text += fmt::format("project: {}\n", f.project);
  if (f.placement != job::Placement()) {
    text += fmt::format("placement: {{labels: {}, sites: {}, attested: {}}}\n",
                        QuotedList(f.placement.labels), QuotedList(f.placement.sites),
                        f.placement.attested);
  }
  if (!f.after.empty()) text += fmt::format("after: [{}]\n", fmt::join(f.after, ", "));
  if (f.deadline_ms > 0) text += fmt::format("deadline: {}\n", FormatDuration(f.deadline_ms));
  if (f.checkpoint) {
    text += fmt::format("checkpoint: {{folder: {}, every: {}}}\n", Quoted(f.checkpoint->folder),
                        FormatDuration(f.checkpoint->every_ms));
  }
  return text;
}

std::string Dump(const Json& json) {
  return json.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
}

std::string Hex(std::string_view bytes) {
  std::string hex;
  for (const char c : bytes) hex += fmt::format("{:02x}", static_cast<unsigned char>(c));
  return hex;
}

}  // namespace corpgrid::cli
