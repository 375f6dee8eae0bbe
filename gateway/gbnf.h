#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "inference/token_filter.h"

namespace corpgrid::gateway {

// A grammar in the notation of the worker (GBNF), made rule by rule. One thread.
class Gbnf {
 public:
  // What a worker takes of one.
  static constexpr size_t kMaxBytes = inference::TokenFilter::kMaxGrammarBytes;

  // A rule that nobody else has; returns its name. `hint` becomes a part of it.
  std::string Add(std::string_view hint, std::string body);

  // The name of a rule to be, for what refers to itself; Define() it later, once.
  std::string Reserve(std::string_view hint);
  void Define(const std::string& name, std::string body);

  // The name of a rule that is the same wherever it is needed, and made when it first is. No other
  // rule may have this name: letters and "-", not as those of Add() are.
  std::string Shared(const std::string& name, std::string_view body);

  // Shared rules: "value" (any JSON), "object", "array", "string", "char" (of a string), "number",
  // "integer", "ws" (a little space), "hex".
  std::string Common(const std::string& name);

  // Whether its rules have more than kMaxBytes, so that adding to them is of no use.
  bool IsTooLong() const { return bytes_ > kMaxBytes; }

  // The whole grammar, whose answer is of the rule `root`. Errors: InvalidArgument about `param`,
  // from which it was made, when it ends nowhere or takes too long to follow.
  absl::StatusOr<std::string> Text(std::string_view root, std::string_view param) const;

 private:
  std::map<std::string, std::string> rules_;
  size_t bytes_ = 0;  // of the rules in the text
  int made_ = 0;
};

// What matches this text and nothing else.
std::string GbnfLiteral(std::string_view text);
// A character as it stands inside "[…]".
std::string GbnfClassChar(char c);
// The code points from `first` to `last` as they stand there.
std::string GbnfClassRange(uint32_t first, uint32_t last);

}  // namespace corpgrid::gateway
