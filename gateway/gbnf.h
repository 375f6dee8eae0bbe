#pragma once

#include <map>
#include <string>
#include <string_view>

namespace corpgrid::gateway {

// A grammar in the notation of the worker (GBNF), made rule by rule. One thread.
class Gbnf {
 public:
  // A rule that nobody else has; returns its name. `hint` becomes a part of it.
  std::string Add(std::string_view hint, std::string body);

  // The name of a rule to be, for what refers to itself; Define() it later, once.
  std::string Reserve(std::string_view hint);
  void Define(const std::string& name, std::string body);

  // Rules that are made when first asked for: "value" (any JSON), "object", "string", "char" (of a
  // string), "key" and "number", "integer", "ws" (a little space), "hex".
  std::string Common(const std::string& name);

  // The whole grammar, whose answer is of the rule `root`.
  std::string Text(std::string_view root) const;

 private:
  std::map<std::string, std::string> rules_;
  int made_ = 0;
};

// What matches this text and nothing else.
std::string GbnfLiteral(std::string_view text);
// A character as it stands inside "[…]".
std::string GbnfClassChar(char c);

}  // namespace corpgrid::gateway
