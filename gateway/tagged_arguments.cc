#include "gateway/tagged_arguments.h"

#include <set>
#include <string_view>
#include <vector>

#include "base/status_macros.h"
#include "fmt/format.h"
#include "fmt/ranges.h"
#include "gateway/api_error.h"
#include "gateway/json_schema.h"
#include "gateway/text_until.h"

namespace corpgrid::gateway {
namespace {

constexpr std::string_view kTag = "<parameter=";
constexpr std::string_view kAfterName = ">\n";
constexpr std::string_view kEnd = "\n</parameter>\n";
constexpr std::string_view kClose = "</function>";

bool IsText(const Json& schema) {
  static const auto& known =
      *new std::set<std::string>{"type", "enum", "title", "description", "default", "examples"};
  if (!schema.is_object()) return false;
  for (const auto& [word, value] : schema.items()) {
    if (!known.contains(word)) return false;
  }
  if (!schema.contains("enum")) return schema.value("type", Json()) == "string";
  for (const Json& one : schema["enum"]) {
    if (!one.is_string() || one.get_ref<const std::string&>().find(kEnd) != std::string::npos) {
      return false;
    }
  }
  return schema.value("type", Json("string")) == "string";
}

// A tag with a name that the schema does not tell.
absl::StatusOr<std::string> AnyTags(const Json& schema, const std::string& path,
                                    SchemaGrammar* values, Gbnf* grammar) {
  std::string value = grammar->Common("value");
  if (schema.contains("additionalProperties") && schema["additionalProperties"].is_object()) {
    ASSIGN_OR_RETURN(value, values->BuildPart(schema["additionalProperties"], path));
  }
  return fmt::format(" ( {} [a-zA-Z0-9_.-]{{1,64}} {} {} {} )*", GbnfLiteral(kTag),
                     GbnfLiteral(kAfterName), value, GbnfLiteral(kEnd));
}

// As it stands in a JSON string. Byte by byte: it may end in the middle of a character.
std::string Escaped(std::string_view text) {
  std::string escaped;
  for (const char c : text) {
    if (c == '"' || c == '\\') escaped += '\\';
    if (c == '\n') {
      escaped += "\\n";
    } else if (static_cast<unsigned char>(c) < 0x20) {
      escaped += fmt::format("\\u{:04x}", static_cast<unsigned>(c));
    } else {
      escaped += c;
    }
  }
  return escaped;
}

bool IsText(const Tools::Function* function, const std::string& name) {
  if (function == nullptr || !function->parameters.contains("properties")) return false;
  const Json& properties = function->parameters["properties"];
  return properties.contains(name) && IsText(properties[name]);
}

}  // namespace

absl::StatusOr<std::string> TaggedArguments(const Tools::Function& function, Gbnf* grammar) {
  const Json& schema = function.parameters;
  for (const char* word : {"$ref", "anyOf", "oneOf", "allOf"}) {
    if (!schema.contains(word)) continue;
    return BadField(function.path,
                    fmt::format("{}.{}: the properties of what this model's functions take have "
                                "to stand in the schema itself",
                                function.path, word));
  }
  // Says what is wrong with the rest of it.
  Gbnf unused;
  RETURN_IF_ERROR(SchemaGrammar(schema, function.path, &unused).Build().status());
  const std::string text = TextUntil(kEnd, "", /*may_end=*/false, grammar);
  SchemaGrammar values(schema, function.path, grammar);
  std::set<std::string> required;
  if (schema.contains("required"))
    required.insert(schema["required"].begin(), schema["required"].end());
  std::string all = "\"\"";
  const Json properties = schema.value("properties", Json::object());
  for (const auto& [name, property] : properties.items()) {
    const std::string path = fmt::format("{}.properties.{}", function.path, name);
    if (name.find_first_of(">\n") != std::string::npos) {
      return BadField(
          function.path,
          fmt::format("{}: the name stands in a tag, and has a \">\" or a line's end", path));
    }
    std::string value = text;
    if (IsText(property) && property.contains("enum")) {
      std::vector<std::string> ways;
      for (const Json& one : property["enum"]) ways.push_back(GbnfLiteral(one.get<std::string>()));
      value = fmt::format("( {} ) {}", fmt::join(ways, " | "), GbnfLiteral(kEnd));
    } else if (!IsText(property)) {
      ASSIGN_OR_RETURN(value, values.BuildPart(property, path));
      value += " " + GbnfLiteral(kEnd);
    }
    const std::string open = GbnfLiteral(fmt::format("{}{}{}", kTag, name, kAfterName));
    all += fmt::format(" ( {} {} ){}", open, value, required.contains(name) ? "" : "?");
  }
  const Json more = schema.value("additionalProperties", Json(!schema.contains("properties")));
  if (properties.empty() && more != false) {
    ASSIGN_OR_RETURN(const std::string any, AnyTags(schema, function.path, &values, grammar));
    all += any;
  }
  return grammar->Add("tags", std::move(all));
}

bool TaggedReader::ReadTag(std::string* held, std::string* json) {
  const size_t end = held->find(kAfterName);
  if (held->starts_with(kTag) && end != std::string::npos) {
    const std::string name = held->substr(kTag.size(), end - kTag.size());
    is_text_ = IsText(function_, name);
    *json += fmt::format("{}{}: {}", is_first_ ? "{" : ", ", Dump(name), is_text_ ? "\"" : "");
    is_first_ = false;
    in_value_ = true;
    held->erase(0, end + kAfterName.size());
    return true;
  }
  const bool may_be_tag = held->starts_with(kTag) || kTag.starts_with(*held);
  if (may_be_tag || (kClose.starts_with(*held) && held->size() < kClose.size())) return false;
  // What else could be here a grammar does not allow: a device would be lying.
  *json += is_first_ ? "{}" : "}";
  over_ = true;
  return false;
}

bool TaggedReader::ReadValue(std::string* held, std::string* json) {
  const size_t end = held->find(kEnd);
  const bool ends = end != std::string::npos;
  const size_t length = ends ? end : held->size() - BeginningOf(kEnd, *held);
  const std::string value = held->substr(0, length);
  *json += is_text_ ? Escaped(value) : value;
  held->erase(0, length);
  if (!ends) return false;
  if (is_text_) *json += "\"";
  held->erase(0, kEnd.size());
  in_value_ = false;
  return true;
}

std::string TaggedReader::Read(std::string* held) {
  std::string json;
  while (in_value_ ? ReadValue(held, &json) : ReadTag(held, &json)) {
  }
  return json;
}

}  // namespace corpgrid::gateway
