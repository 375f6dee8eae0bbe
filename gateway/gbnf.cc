#include "gateway/gbnf.h"

#include <cctype>
#include <utility>
#include <vector>

#include "fmt/format.h"
#include "gateway/api_error.h"
#include "inference/grammar_cost.h"

namespace corpgrid::gateway {
namespace {

struct CommonRule {
  std::string_view body;
  std::vector<std::string> needs;
};

// Surrogates are left out of \u: half a pair is no text.
const std::map<std::string, CommonRule>& CommonRules() {
  static const auto& rules = *new std::map<std::string, CommonRule>{
      {"ws", {R"( | " " | "\n" [ \t]{0,20})", {}}},
      {"hex", {"[0-9a-fA-F]", {}}},
      {"char",
       {R"([^"\\\x7F\x00-\x1F] | "\\" ( ["\\/bfnrt] | "u" ( [0-9a-cA-Ce-fE-F] hex hex hex | [dD] [0-7] hex hex ) ))",
        {"hex"}}},
      {"string", {R"("\"" char* "\"")", {"char"}}},
      {"integer", {R"("-"? ( "0" | [1-9] [0-9]{0,15} ))", {}}},
      {"number", {R"(integer ( "." [0-9]{1,16} )? ( [eE] [-+]? [0-9]{1,2} )?)", {"integer"}}},
      {"object",
       {R"("{" ws ( string ":" ws value ( "," ws string ":" ws value )* )? ws "}")",
        {"ws", "string", "value"}}},
      {"array", {R"("[" ws ( value ( "," ws value )* )? ws "]")", {"ws", "value"}}},
      {"value",
       {R"(object | array | string | number | "true" | "false" | "null")",
        {"object", "array", "string", "number"}}}};
  return rules;
}

}  // namespace

std::string Gbnf::Reserve(std::string_view hint) {
  std::string name;
  for (const char c : hint.substr(0, 24)) {
    name += std::isalnum(static_cast<unsigned char>(c)) != 0 ? c : '-';
  }
  return fmt::format("r{}-{}", ++made_, name.empty() ? "x" : name);
}

void Gbnf::Define(const std::string& name, std::string body) {
  constexpr std::string_view kBetween = " ::= \n";
  bytes_ += name.size() + body.size() + kBetween.size();
  rules_[name] = std::move(body);
}

std::string Gbnf::Add(std::string_view hint, std::string body) {
  std::string name = Reserve(hint);
  Define(name, std::move(body));
  return name;
}

std::string Gbnf::Shared(const std::string& name, std::string_view body) {
  if (!rules_.contains(name)) Define(name, std::string(body));
  return name;
}

std::string Gbnf::Common(const std::string& name) {
  if (rules_.contains(name)) return name;
  const CommonRule& rule = CommonRules().at(name);
  Shared(name, rule.body);
  for (const std::string& other : rule.needs) Common(other);
  return name;
}

absl::StatusOr<std::string> Gbnf::Text(std::string_view root, std::string_view param) const {
  std::string text = fmt::format("root ::= {}\n", root);
  for (const auto& [name, body] : rules_) text += fmt::format("{} ::= {}\n", name, body);
  const absl::StatusOr<inference::GrammarCost> cost = inference::CostOf(text);
  if (cost.ok()) return text;
  return BadField(
      param, fmt::format("{} cannot be followed: {}", param, std::string(cost.status().message())));
}

std::string GbnfLiteral(std::string_view text) {
  std::string literal = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') {
      literal += '\\';
      literal += c;
    } else if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) {
      literal += fmt::format("\\x{:02X}", static_cast<unsigned char>(c));
    } else {
      literal += c;
    }
  }
  return literal + "\"";
}

std::string GbnfClassChar(char c) {
  if (c == ']' || c == '[' || c == '\\' || c == '^' || c == '-' || c == '"' ||
      static_cast<unsigned char>(c) < 0x20 || c == 0x7f) {
    return fmt::format("\\x{:02X}", static_cast<unsigned char>(c));
  }
  return std::string(1, c);
}

std::string GbnfClassRange(uint32_t first, uint32_t last) {
  const auto text = [](uint32_t code_point) {
    if (code_point < 0x80) return GbnfClassChar(static_cast<char>(code_point));
    return code_point <= 0xFFFF ? fmt::format("\\u{:04X}", code_point)
                                : fmt::format("\\U{:08X}", code_point);
  };
  return first == last ? text(first) : fmt::format("{}-{}", text(first), text(last));
}

}  // namespace corpgrid::gateway
