// Objects of a schema.
#include <algorithm>
#include <map>
#include <memory>
#include <set>
#include <string_view>
#include <vector>

#include "base/status_macros.h"
#include "fmt/format.h"
#include "fmt/ranges.h"
#include "gateway/api_error.h"
#include "gateway/json_schema.h"

namespace corpgrid::gateway {
namespace {

constexpr size_t kMaxPlainName = 256;

// The names that a key may not be, letter by letter.
struct Trie {
  bool is_name = false;
  std::map<char, std::unique_ptr<Trie>> next;
};

// Of no use once the grammar is too long.
std::string RestOfKey(const Trie& trie, const std::string& any_rest, Gbnf* grammar) {
  if (grammar->IsTooLong()) return any_rest;
  std::vector<std::string> ways;
  std::string known;
  for (const auto& [c, child] : trie.next) {
    known += GbnfClassChar(c);
    const std::string rest = RestOfKey(*child, any_rest, grammar);
    ways.push_back(fmt::format("{} {}", GbnfLiteral(std::string(1, c)), rest));
  }
  ways.push_back(fmt::format(R"([^"\\\x7F\x00-\x1F{}] {})", known, any_rest));
  if (!trie.is_name) ways.emplace_back("\"\"");
  return grammar->Add("key", fmt::format("{}", fmt::join(ways, " | ")));
}

absl::Status CheckObject(const Json& schema, const std::string& path) {
  if (schema.contains("properties") && !schema["properties"].is_object()) {
    return BadField(path, fmt::format("{}.properties has to be an object", path));
  }
  if (!schema.contains("required")) return absl::OkStatus();
  if (!schema["required"].is_array()) {
    return BadField(path, fmt::format("{}.required has to be a list of names", path));
  }
  std::set<std::string_view> named;
  if (schema.contains("properties")) {
    for (const auto& [name, property] : schema["properties"].items()) named.insert(name);
  }
  for (const Json& name : schema["required"]) {
    if (name.is_string() && named.contains(name.get_ref<const std::string&>())) continue;
    return BadField(path, fmt::format("{}.required has {}, which properties does not say anything "
                                      "of",
                                      path, Dump(name)));
  }
  return absl::OkStatus();
}

}  // namespace

// A key that is none of the named ones. It has no escapes, which could spell one of them.
absl::StatusOr<std::string> SchemaGrammar::KeyBut(const Json& properties) {
  // The names are in the grammar as a whole as well: their letters alone may be too many.
  size_t letters = 0;
  for (const auto& [name, schema] : properties.items()) letters += name.size();
  if (letters > Gbnf::kMaxBytes) return TooLong();
  Trie root;
  for (const auto& [name, schema] : properties.items()) {
    Trie* at = &root;
    for (const char c : name) {
      std::unique_ptr<Trie>& next = at->next[c];
      if (!next) next = std::make_unique<Trie>();
      at = next.get();
    }
    at->is_name = true;
  }
  const std::string any_rest = grammar_->Add("rest", R"([^"\\\x7F\x00-\x1F]*)");
  const std::string rest = RestOfKey(root, any_rest, grammar_);
  if (grammar_->IsTooLong()) return TooLong();
  return fmt::format(R"("\"" {} "\"")", rest);
}

// `KEY: VALUE` of a member that is not named. Empty where there may be none.
absl::StatusOr<std::string> SchemaGrammar::MoreMembers(const Json& schema,
                                                       const std::string& path) {
  const bool named = schema.contains("properties") && !schema["properties"].empty();
  const bool said = schema.contains("additionalProperties");
  if (said && schema["additionalProperties"].is_boolean() &&
      !schema["additionalProperties"].get<bool>()) {
    return std::string();
  }
  if (!said && schema.contains("properties")) return std::string();
  std::string value = grammar_->Common("value");
  if (said) {
    ASSIGN_OR_RETURN(std::string rule,
                     Rule(schema["additionalProperties"], path + ".additionalProperties"));
    value = grammar_->Add("more", std::move(rule));
  }
  if (!named) {
    return fmt::format(R"({} ":" {} {})", grammar_->Common("string"), grammar_->Common("ws"),
                       value);
  }
  for (const auto& [name, property] : schema["properties"].items()) {
    const bool plain =
        name.size() <= kMaxPlainName && std::all_of(name.begin(), name.end(), [](unsigned char c) {
          return c >= 0x20 && c < 0x7f && c != '"' && c != '\\';
        });
    if (plain) continue;
    return BadField(path, fmt::format("{}.additionalProperties beside the property {} is not "
                                      "supported here: its name is not plain, short ASCII",
                                      path, Dump(name)));
  }
  ASSIGN_OR_RETURN(const std::string key, KeyBut(schema["properties"]));
  return fmt::format(R"({} ":" {} {})", key, grammar_->Common("ws"), value);
}

// Each property has two rules: for what may come from it on when the object is still empty, and
// when it is not and a comma is needed. They are made from the last one backwards.
absl::StatusOr<std::string> SchemaGrammar::Object(const Json& schema, const std::string& path) {
  RETURN_IF_ERROR(CheckObject(schema, path));
  const std::string ws = grammar_->Common("ws");
  std::set<std::string> required;
  if (schema.contains("required")) {
    for (const Json& name : schema["required"]) required.insert(name.get<std::string>());
  }
  ASSIGN_OR_RETURN(const std::string more, MoreMembers(schema, path));
  std::string first = "\"\"", further = "\"\"";
  if (!more.empty()) {
    const std::string member = grammar_->Add("member", more);
    first = grammar_->Add("members", fmt::format(R"(( {} ( "," {} {} )* )?)", member, ws, member));
    further = grammar_->Add("members", fmt::format(R"(( "," {} {} )*)", ws, member));
  }
  std::vector<std::pair<std::string, const Json*>> properties;
  if (schema.contains("properties")) {
    for (const auto& [name, property] : schema["properties"].items()) {
      properties.emplace_back(name, &property);
    }
  }
  for (auto it = properties.rbegin(); it != properties.rend(); ++it) {
    const auto& [name, property] = *it;
    ASSIGN_OR_RETURN(std::string rule,
                     Rule(*property, fmt::format("{}.properties.{}", path, name)));
    const std::string member =
        grammar_->Add(name, fmt::format(R"({} ":" {} {})", GbnfLiteral(Dump(name)), ws,
                                        grammar_->Add(name, std::move(rule))));
    const bool optional = !required.contains(name);
    std::string new_first = fmt::format("{} {}", member, further);
    std::string new_further = fmt::format(R"("," {} {} {})", ws, member, further);
    if (optional) {
      new_first += " | " + first;
      new_further += " | " + further;
    }
    first = grammar_->Add("first", std::move(new_first));
    further = grammar_->Add("further", std::move(new_further));
  }
  return fmt::format(R"("{{" {} {} {} "}}")", ws, first, ws);
}

}  // namespace corpgrid::gateway
