#include "gateway/json_schema.h"

#include <algorithm>
#include <cmath>
#include <set>
#include <string_view>
#include <vector>

#include "base/status_macros.h"
#include "fmt/format.h"
#include "fmt/ranges.h"
#include "gateway/api_error.h"

namespace corpgrid::gateway {
namespace {

// Schemas of every kind have these: they describe, but for nullable, which Rule() reads.
const std::set<std::string, std::less<>>& WordsOfAll() {
  static const auto& words = *new std::set<std::string, std::less<>>{
      "title", "description", "default",    "examples", "$schema", "$id",       "$comment",
      "$defs", "definitions", "deprecated", "readOnly", "strict",  "writeOnly", "nullable"};
  return words;
}

const std::map<std::string_view, std::set<std::string_view>>& WordsOfTypes() {
  static const auto& words = *new std::map<std::string_view, std::set<std::string_view>>{
      {"string", {"minLength", "maxLength", "pattern", "format"}},
      {"integer", {"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"}},
      {"number", {"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"}},
      {"array", {"items", "prefixItems", "minItems", "maxItems", "uniqueItems"}},
      {"object", {"properties", "required", "additionalProperties"}},
      {"boolean", {}},
      {"null", {}}};
  return words;
}

bool IsOfType(std::string_view word, std::string_view type) {
  const auto found = WordsOfTypes().find(type);
  return found != WordsOfTypes().end() && found->second.contains(word);
}

bool HasType(const Json& value, std::string_view type) {
  if (type == "number") return value.is_number();
  if (type != "integer") return type == value.type_name();
  return value.is_number() && std::floor(value.get<double>()) == value.get<double>();
}

absl::Status NotSupported(std::string_view word, const std::string& path) {
  return BadField(
      path, fmt::format("{} has the keyword \"{}\", which is not supported here", path, word));
}

// An error for the first keyword of the schema that is neither one of these nor of all schemas.
absl::Status OnlyThese(const Json& schema, const std::string& path,
                       std::initializer_list<std::string_view> known) {
  for (const auto& [word, value] : schema.items()) {
    if (WordsOfAll().contains(word)) continue;
    if (std::find(known.begin(), known.end(), word) == known.end()) return NotSupported(word, path);
  }
  return absl::OkStatus();
}

// The same for keywords that are about none of these types.
absl::Status OnlyAbout(const std::vector<std::string>& types, const Json& schema,
                       const std::string& path) {
  for (const auto& [word, value] : schema.items()) {
    bool known = word == "type" || WordsOfAll().contains(word);
    for (const std::string& type : types) known = known || IsOfType(word, type);
    if (!known) return NotSupported(word, path);
  }
  return absl::OkStatus();
}

// None where the schema does not tell.
absl::StatusOr<std::vector<std::string>> TypesOf(const Json& schema, const std::string& path) {
  std::vector<std::string> types;
  if (!schema.contains("type")) {
    if (schema.contains("properties") || schema.contains("additionalProperties")) {
      types.emplace_back("object");
    } else if (schema.contains("items") || schema.contains("prefixItems")) {
      types.emplace_back("array");
    }
    return types;
  }
  const Json& type = schema["type"];
  if (type.is_array() && type.empty()) {
    return BadField(path, fmt::format("{}.type names no type", path));
  }
  bool right = !type.is_array() || type.size() <= WordsOfTypes().size();
  for (size_t i = 0; right && i < (type.is_array() ? type.size() : 1); ++i) {
    const auto* name = (type.is_array() ? type[i] : type).get_ptr<const std::string*>();
    right = name != nullptr && std::find(types.begin(), types.end(), *name) == types.end();
    if (right) types.push_back(*name);
  }
  if (right) return types;
  return BadField(path, fmt::format("{}.type has to be the name of a type or a list of such, each "
                                    "once",
                                    path));
}

}  // namespace

// Counts how deep a recursion is.
class SchemaGrammar::DepthOf {
 public:
  explicit DepthOf(int* depth) : depth_(depth) { ++*depth_; }
  DepthOf(const DepthOf&) = delete;
  ~DepthOf() { --*depth_; }

 private:
  int* const depth_;
};

absl::StatusOr<std::string> SchemaGrammar::Build() {
  ASSIGN_OR_RETURN(std::string rule, Reference("#", path_));
  if (grammar_->IsTooLong()) return TooLong();
  return rule;
}

absl::StatusOr<std::string> SchemaGrammar::BuildPart(const Json& part, const std::string& path) {
  ASSIGN_OR_RETURN(std::string rule, Rule(part, path));
  if (grammar_->IsTooLong()) return TooLong();
  return grammar_->Add("part", std::move(rule));
}

absl::Status SchemaGrammar::TooLong() const {
  return BadField(path_, fmt::format("{} makes a grammar of more than {} KiB; a simpler schema is "
                                     "needed",
                                     path_, Gbnf::kMaxBytes >> 10));
}

absl::StatusOr<std::string> SchemaGrammar::Reference(const std::string& ref,
                                                     const std::string& path) {
  const auto known = references_.find(ref);
  if (known != references_.end()) return known->second;
  const Json* target = nullptr;
  try {
    const Json::json_pointer pointer(ref.starts_with("#") ? ref.substr(1) : "?");
    if (root_.contains(pointer)) target = &root_.at(pointer);
  } catch (const Json::exception&) {
    // It is no pointer: as if it led nowhere.
  }
  if (target == nullptr) {
    return BadField(path, fmt::format("{}.$ref is \"{}\", which is not in this schema", path, ref));
  }
  const std::string name = grammar_->Reserve(ref);
  references_.emplace(ref, name);
  ASSIGN_OR_RETURN(std::string rule, Rule(*target, ref == "#" ? path_ : path_ + ref));
  grammar_->Define(name, std::move(rule));
  return name;
}

// Those of its types, where it names some.
absl::StatusOr<std::string> SchemaGrammar::Values(const char* word, const Json& values,
                                                  const Json& schema, const std::string& path) {
  RETURN_IF_ERROR(OnlyThese(schema, path, {word, "type"}));
  if (!values.is_array() || values.empty()) {
    return BadField(path, fmt::format("{}.{} has to be a list of values", path, word));
  }
  ASSIGN_OR_RETURN(const std::vector<std::string> types, TypesOf(schema, path));
  std::vector<std::string> texts;
  for (const Json& value : values) {
    const bool fits = std::any_of(types.begin(), types.end(),
                                  [&](const std::string& type) { return HasType(value, type); });
    if (types.empty() || fits) texts.push_back(GbnfLiteral(Dump(value)));
  }
  if (!texts.empty()) return fmt::format("{}", fmt::join(texts, " | "));
  return BadField(path, fmt::format("{}.{} has nothing of its type", path, word));
}

// The body of the rule for a schema; everything that repeats goes into rules of its own.
absl::StatusOr<std::string> SchemaGrammar::Rule(const Json& schema, const std::string& path) {
  const DepthOf here(&depth_);
  if (depth_ > kMaxDepth) {
    return BadField(path_, fmt::format("{} has schemas and references more than {} deep in each "
                                       "other",
                                       path_, kMaxDepth));
  }
  // A path grows with names that come into the grammar, too.
  if (grammar_->IsTooLong() || path.size() > Gbnf::kMaxBytes) return TooLong();
  if (schema.is_boolean() && schema.get<bool>()) return grammar_->Common("value");
  if (!schema.is_object()) {
    return BadField(path, fmt::format("{} has to be a schema, and one that something fits", path));
  }
  if (!schema.contains("nullable")) return NotNullRule(schema, path);
  if (!schema["nullable"].is_boolean()) {
    return BadField(path, fmt::format("{}.nullable has to be true or false", path));
  }
  ASSIGN_OR_RETURN(std::string rule, NotNullRule(schema, path));
  return schema["nullable"].get<bool>() ? fmt::format("( {} ) | \"null\"", rule) : rule;
}

// As if the schema said nothing of nullable.
absl::StatusOr<std::string> SchemaGrammar::NotNullRule(const Json& schema,
                                                       const std::string& path) {
  if (schema.contains("$ref")) {
    RETURN_IF_ERROR(OnlyThese(schema, path, {"$ref"}));
    if (!schema["$ref"].is_string()) return BadField(path, path + ".$ref has to be a string");
    return Reference(schema["$ref"].get<std::string>(), path);
  }
  if (schema.contains("const"))
    return Values("const", Json::array({schema["const"]}), schema, path);
  if (schema.contains("enum")) return Values("enum", schema["enum"], schema, path);
  for (const char* word : {"anyOf", "oneOf"}) {
    if (!schema.contains(word)) continue;
    RETURN_IF_ERROR(OnlyThese(schema, path, {word}));
    return OneOfThese(schema[word], fmt::format("{}.{}", path, word));
  }
  if (schema.contains("allOf") && !schema.contains("type")) {
    RETURN_IF_ERROR(OnlyThese(schema, path, {"allOf"}));
    const Json& schemas = schema["allOf"];
    if (schemas.is_array() && schemas.size() == 1) return Rule(schemas[0], path + ".allOf[0]");
    return BadField(path, fmt::format("{}.allOf can only be a list of one schema here", path));
  }
  return ByType(schema, path);
}

// With several types a keyword counts for those that it is about.
absl::StatusOr<std::string> SchemaGrammar::ByType(const Json& schema, const std::string& path) {
  ASSIGN_OR_RETURN(const std::vector<std::string> types, TypesOf(schema, path));
  RETURN_IF_ERROR(OnlyAbout(types, schema, path));
  if (types.empty()) return grammar_->Common("value");
  if (types.size() == 1) return OfType(types.front(), schema, path);
  std::vector<std::string> names;
  for (const std::string& type : types) {
    ASSIGN_OR_RETURN(std::string rule, OfType(type, schema, path));
    names.push_back(grammar_->Add("any", std::move(rule)));
  }
  return fmt::format("{}", fmt::join(names, " | "));
}

absl::StatusOr<std::string> SchemaGrammar::OneOfThese(const Json& schemas,
                                                      const std::string& path) {
  if (!schemas.is_array() || schemas.empty()) {
    return BadField(path, fmt::format("{} has to be a list of schemas", path));
  }
  std::vector<std::string> names;
  for (size_t i = 0; i < schemas.size(); ++i) {
    ASSIGN_OR_RETURN(std::string rule, Rule(schemas[i], fmt::format("{}[{}]", path, i)));
    names.push_back(grammar_->Add("any", std::move(rule)));
  }
  return fmt::format("{}", fmt::join(names, " | "));
}

absl::StatusOr<std::string> SchemaGrammar::OfType(const std::string& type, const Json& schema,
                                                  const std::string& path) {
  if (type == "string") return String(schema, path);
  if (type == "integer") return Integer(schema, path);
  if (type == "number") return Number(schema, path);
  if (type == "array") return Array(schema, path);
  if (type == "object") return Object(schema, path);
  if (type != "boolean" && type != "null") {
    return BadField(path, fmt::format("{}.type is \"{}\", which is no type of JSON", path, type));
  }
  return std::string(type == "null" ? "\"null\"" : "\"true\" | \"false\"");
}

absl::StatusOr<std::string> SchemaGrammar::Array(const Json& schema, const std::string& path) {
  if (schema.contains("uniqueItems") && schema["uniqueItems"] != false) {
    return BadField(path, fmt::format("{}.uniqueItems is not supported here", path));
  }
  Fields fields(schema, path);
  const int64_t least = fields.Integer("minItems", 0, 0, kMaxRepeats);
  const int64_t given = fields.Integer("maxItems", INT64_MAX, 0, INT64_MAX);
  const int64_t most = std::min(given, kMaxRepeats);
  if (least > most) fields.Fail("minItems", "is more than maxItems");
  if (!fields.ok()) return fields.Finish();
  if (schema.contains("prefixItems")) return Tuple(schema, path, least, given);
  std::string item = grammar_->Common("value");
  if (schema.contains("items")) {
    ASSIGN_OR_RETURN(std::string rule, Rule(schema["items"], path + ".items"));
    item = grammar_->Add("item", std::move(rule));
  }
  const std::string ws = grammar_->Common("ws");
  if (most == 0) return fmt::format(R"("[" {} "]")", ws);
  const std::string more =
      fmt::format(R"({} ( "," {} {} ){{{},{}}})", item, ws, item, std::max<int64_t>(least - 1, 0),
                  fields.Has("maxItems") ? std::to_string(most - 1) : "");
  return fmt::format(R"("[" {} {} {} "]")", ws, least == 0 ? fmt::format("( {} )?", more) : more,
                     ws);
}

// A list of an item of each schema, and no others.
absl::StatusOr<std::string> SchemaGrammar::Tuple(const Json& schema, const std::string& path,
                                                 int64_t least, int64_t most) {
  const Json& items = schema["prefixItems"];
  if (!items.is_array() || items.empty()) {
    return BadField(path, fmt::format("{}.prefixItems has to be a list of schemas", path));
  }
  const auto count = static_cast<int64_t>(items.size());
  if (schema.contains("items") && schema["items"] != false && most != count) {
    return BadField(path, fmt::format("{}.items can only be false here, beside prefixItems", path));
  }
  if (count < least || count > most) {
    return BadField(path, fmt::format("{0}.prefixItems has {1} schemas; {0} may not have as many "
                                      "items",
                                      path, count));
  }
  const std::string ws = grammar_->Common("ws");
  std::string list;
  for (size_t i = 0; i < items.size(); ++i) {
    ASSIGN_OR_RETURN(std::string rule, Rule(items[i], fmt::format("{}.prefixItems[{}]", path, i)));
    if (i > 0) list += fmt::format(R"( "," {} )", ws);
    list += grammar_->Add("item", std::move(rule));
  }
  return fmt::format(R"("[" {} {} {} "]")", ws, list, ws);
}

}  // namespace corpgrid::gateway
