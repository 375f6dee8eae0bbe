#include "gateway/json_schema.h"

#include <algorithm>
#include <limits>
#include <set>
#include <string_view>
#include <vector>

#include "base/status_macros.h"
#include "fmt/format.h"
#include "fmt/ranges.h"
#include "gateway/api_error.h"
#include "gateway/pattern.h"

namespace corpgrid::gateway {
namespace {

constexpr int64_t kMostExact = 999'999'999'999'999;  // with 15 digits, exact in every JSON reader

const std::set<std::string, std::less<>>& Descriptions() {
  static const auto& words = *new std::set<std::string, std::less<>>{
      "title", "description", "default",    "examples", "$schema", "$id",      "$comment",
      "$defs", "definitions", "deprecated", "readOnly", "strict",  "writeOnly"};
  return words;
}

// An error for the first keyword of the schema that is neither of these nor a description.
absl::Status OnlyThese(const Json& schema, const std::string& path,
                       std::initializer_list<std::string_view> known) {
  for (const auto& [word, value] : schema.items()) {
    if (Descriptions().contains(word) ||
        std::find(known.begin(), known.end(), word) != known.end()) {
      continue;
    }
    return BadField(
        path, fmt::format("{} has the keyword \"{}\", which is not supported here", path, word));
  }
  return absl::OkStatus();
}

const std::map<std::string, std::string, std::less<>>& Formats() {
  static const std::string date =
      R"([0-9]{4} "-" ( "0" [1-9] | "1" [0-2] ) "-" ( "0" [1-9] | [12] [0-9] | "3" [01] ))";
  static const std::string time =
      R"(( [01] [0-9] | "2" [0-3] ) ":" [0-5] [0-9] ":" [0-5] [0-9] ( "." [0-9]{1,9} )? ( "Z" | [-+] ( [01] [0-9] | "2" [0-3] ) ":" [0-5] [0-9] ))";
  static const std::string byte =
      R"(( "25" [0-5] | "2" [0-4] [0-9] | "1" [0-9] [0-9] | [1-9] [0-9] | [0-9] ))";
  static const auto& formats = *new std::map<std::string, std::string, std::less<>>{
      {"date", date},
      {"time", time},
      {"date-time", date + " \"T\" " + time},
      {"uuid", R"([0-9a-f]{8} "-" [0-9a-f]{4} "-" [0-9a-f]{4} "-" [0-9a-f]{4} "-" [0-9a-f]{12})"},
      {"ipv4", fmt::format(R"({0} "." {0} "." {0} "." {0})", byte)},
      {"email",
       R"([a-zA-Z0-9_+-]{1,32} ( "." [a-zA-Z0-9_+-]{1,32} ){0,3} "@" [a-z0-9] [a-z0-9-]{0,40} ( "." [a-z0-9] [a-z0-9-]{0,40} ){0,3} "." [a-z]{2,12})"}};
  return formats;
}

bool KeywordIsFor(std::string_view word, std::string_view type) {
  static const auto& words = *new std::map<std::string_view, std::set<std::string_view>>{
      {"string", {"minLength", "maxLength", "pattern", "format"}},
      {"integer", {"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"}},
      {"number", {"minimum"}},
      {"array", {"items", "minItems", "maxItems", "uniqueItems"}},
      {"object", {"properties", "required", "additionalProperties"}}};
  const auto found = words.find(type);
  return found != words.end() && found->second.contains(word);
}

std::vector<std::string> TypesOf(const Json& schema, const std::string& path, absl::Status* error) {
  std::vector<std::string> types;
  const Json& type = schema["type"];
  for (const Json& one : type.is_array() ? type : Json::array({type})) {
    const std::string* name = one.get_ptr<const std::string*>();
    if (name != nullptr && std::find(types.begin(), types.end(), *name) == types.end()) {
      types.push_back(*name);
    } else {
      *error = BadField(
          path,
          fmt::format("{}.type has to be the name of a type or a list of such, each once", path));
    }
  }
  return types;
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

absl::StatusOr<std::string> SchemaGrammar::Build() { return Reference("#", path_); }

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

// The body of the rule for a schema; everything that repeats goes into rules of its own.
absl::StatusOr<std::string> SchemaGrammar::Rule(const Json& schema, const std::string& path) {
  const DepthOf here(&depth_);
  if (depth_ > kMaxDepth) {
    return BadField(path_, fmt::format("{} has schemas and references more than {} deep in each "
                                       "other",
                                       path_, kMaxDepth));
  }
  if (schema.is_boolean() && schema.get<bool>()) return grammar_->Common("value");
  if (!schema.is_object()) {
    return BadField(path, fmt::format("{} has to be a schema, and one that something fits", path));
  }
  if (schema.contains("nullable")) {
    if (!schema["nullable"].is_boolean()) {
      return BadField(path, fmt::format("{}.nullable has to be true or false", path));
    }
    Json rest = schema;
    const bool nullable = schema["nullable"].get<bool>();
    rest.erase("nullable");
    ASSIGN_OR_RETURN(std::string rule, Rule(rest, path));
    return nullable ? fmt::format("( {} ) | \"null\"", rule) : rule;
  }
  if (schema.contains("$ref")) {
    RETURN_IF_ERROR(OnlyThese(schema, path, {"$ref"}));
    if (!schema["$ref"].is_string()) return BadField(path, path + ".$ref has to be a string");
    return Reference(schema["$ref"].get<std::string>(), path);
  }
  if (schema.contains("const")) {
    RETURN_IF_ERROR(OnlyThese(schema, path, {"const", "type"}));
    return GbnfLiteral(Dump(schema["const"]));
  }
  if (schema.contains("enum")) {
    RETURN_IF_ERROR(OnlyThese(schema, path, {"enum", "type"}));
    if (!schema["enum"].is_array() || schema["enum"].empty()) {
      return BadField(path, fmt::format("{}.enum has to be a list of values", path));
    }
    std::vector<std::string> values;
    for (const Json& value : schema["enum"]) values.push_back(GbnfLiteral(Dump(value)));
    return fmt::format("{}", fmt::join(values, " | "));
  }
  for (const char* word : {"anyOf", "oneOf"}) {
    if (!schema.contains(word)) continue;
    RETURN_IF_ERROR(OnlyThese(schema, path, {word}));
    return OneOfThese(schema[word], fmt::format("{}.{}", path, word));
  }
  return ByType(schema, path);
}

absl::StatusOr<std::string> SchemaGrammar::ByType(const Json& schema, const std::string& path) {
  if (!schema.contains("type")) {
    if (schema.contains("properties") || schema.contains("additionalProperties")) {
      return OfType("object", schema, path);
    }
    if (schema.contains("items")) return OfType("array", schema, path);
    RETURN_IF_ERROR(OnlyThese(schema, path, {}));
    return grammar_->Common("value");
  }
  absl::Status error;
  const std::vector<std::string> types = TypesOf(schema, path, &error);
  RETURN_IF_ERROR(error);
  if (types.empty()) return BadField(path, fmt::format("{}.type names no type", path));
  if (types.size() == 1) return OfType(types.front(), schema, path);
  // With several types a keyword counts for those that it is about.
  Json each = Json::array(), left = schema;
  left.erase("type");
  for (const std::string& type : types) {
    Json one = {{"type", type}};
    for (const auto& [word, value] : schema.items()) {
      if (!KeywordIsFor(word, type)) continue;
      one[word] = value;
      left.erase(word);
    }
    each.push_back(std::move(one));
  }
  RETURN_IF_ERROR(OnlyThese(left, path, {}));
  return OneOfThese(each, path);
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
  RETURN_IF_ERROR(OnlyThese(schema, path, {"type"}));
  return std::string(type == "null" ? "\"null\"" : "\"true\" | \"false\"");
}

absl::StatusOr<std::string> SchemaGrammar::String(const Json& schema, const std::string& path) {
  RETURN_IF_ERROR(OnlyThese(schema, path, {"type", "minLength", "maxLength", "pattern", "format"}));
  Fields fields(schema, path);
  const int64_t least = fields.Integer("minLength", 0, 0, kMaxRepeats);
  const int64_t most = fields.Integer("maxLength", -1, 0, kMaxRepeats);
  const std::string pattern = fields.Text("pattern"), format = fields.Text("format");
  const bool has_length = fields.Has("minLength") || fields.Has("maxLength");
  if (has_length + fields.Has("pattern") + fields.Has("format") > 1) {
    fields.Fail("", "may have only one of pattern, format, and a length");
  }
  if (most >= 0 && least > most) fields.Fail("minLength", "is more than maxLength");
  if (!format.empty() && !Formats().contains(format)) {
    fields.Fail("format", fmt::format("is \"{}\", which is not supported here", format));
  }
  if (!fields.ok()) return fields.Finish();
  if (!format.empty()) return fmt::format(R"("\"" {} "\"")", Formats().find(format)->second);
  if (fields.Has("pattern")) {
    absl::StatusOr<std::string> body = PatternToGbnf(pattern);
    if (!body.ok()) {
      return BadField(path, fmt::format("{}.pattern \"{}\" {}", path, pattern,
                                        std::string(body.status().message())));
    }
    return fmt::format(R"("\"" {} "\"")", *body);
  }
  if (!has_length) return grammar_->Common("string");
  return fmt::format(R"("\"" {}{{{},{}}} "\"")", grammar_->Common("char"), least,
                     most < 0 ? "" : std::to_string(most));
}

absl::StatusOr<std::string> SchemaGrammar::Integer(const Json& schema, const std::string& path) {
  RETURN_IF_ERROR(OnlyThese(
      schema, path, {"type", "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"}));
  Fields fields(schema, path);
  const int64_t least = std::max(
      fields.Integer("minimum", -kMostExact, -kMostExact, kMostExact),
      fields.Integer("exclusiveMinimum", -kMostExact - 1, -kMostExact - 1, kMostExact) + 1);
  const int64_t most =
      std::min(fields.Integer("maximum", kMostExact, -kMostExact, kMostExact),
               fields.Integer("exclusiveMaximum", kMostExact + 1, -kMostExact, kMostExact + 1) - 1);
  if (least > most) fields.Fail("minimum", "leaves no whole number below the maximum");
  if (!fields.ok()) return fields.Finish();
  if (least == -kMostExact && most == kMostExact) return grammar_->Common("integer");
  return IntegerRange(least, most);
}

absl::StatusOr<std::string> SchemaGrammar::Number(const Json& schema, const std::string& path) {
  RETURN_IF_ERROR(OnlyThese(schema, path, {"type", "minimum"}));
  if (!schema.contains("minimum")) return grammar_->Common("number");
  if (schema["minimum"] != 0) {
    return BadField(path, fmt::format("{}.minimum of a number can only be 0 here; integers may "
                                      "have any range",
                                      path));
  }
  return std::string(
      R"(( "0" | [1-9] [0-9]{0,15} ) ( "." [0-9]{1,16} )? ( [eE] [-+]? [0-9]{1,2} )?)");
}

absl::StatusOr<std::string> SchemaGrammar::Array(const Json& schema, const std::string& path) {
  if (schema.contains("uniqueItems") && schema["uniqueItems"] != false) {
    return BadField(path, fmt::format("{}.uniqueItems is not supported here", path));
  }
  RETURN_IF_ERROR(
      OnlyThese(schema, path, {"type", "items", "minItems", "maxItems", "uniqueItems"}));
  Fields fields(schema, path);
  const int64_t least = fields.Integer("minItems", 0, 0, kMaxRepeats);
  const int64_t most = fields.Integer("maxItems", kMaxRepeats + 1, 0, kMaxRepeats);
  if (least > most) fields.Fail("minItems", "is more than maxItems");
  if (!fields.ok()) return fields.Finish();
  std::string item = grammar_->Common("value");
  if (schema.contains("items")) {
    ASSIGN_OR_RETURN(std::string rule, Rule(schema["items"], path + ".items"));
    item = grammar_->Add("item", std::move(rule));
  }
  const std::string ws = grammar_->Common("ws");
  if (most == 0) return fmt::format(R"("[" {} "]")", ws);
  const std::string more =
      fmt::format(R"({} ( "," {} {} ){{{},{}}})", item, ws, item, std::max<int64_t>(least - 1, 0),
                  most > kMaxRepeats ? "" : std::to_string(most - 1));
  return fmt::format(R"("[" {} {} {} "]")", ws, least == 0 ? fmt::format("( {} )?", more) : more,
                     ws);
}

}  // namespace corpgrid::gateway
