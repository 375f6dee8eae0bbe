#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <string_view>

#include "absl/status/status.h"
#include "inference/token.h"

namespace corpgrid::inference {

// Which tokens an answer may go on with. One thread at a time.
class TokenFilter {
 public:
  static constexpr size_t kMaxGrammarBytes = 64 << 10;  // of its text
  static constexpr size_t kMaxBytes = 64 << 20;         // that it takes
  static constexpr size_t kMaxGrammarDepth = 100;       // of its parentheses: the library recurses
  static constexpr int64_t kFilterUs = 500'000, kFilterUsPerToken = 50'000;

  virtual ~TokenFilter() = default;

  virtual bool Allows(Token token) = 0;

  // Makes the logits of all that it does not allow minus infinity.
  virtual void Mask(std::span<float> logits) = 0;

  // The answer goes on with `token`, which it allows. Errors: InvalidArgument when there are so
  // many ways to read the answer that others would have to wait for this one: of processor time a
  // filter has kFilterUs and kFilterUsPerToken for each token.
  virtual absl::Status Accept(Token token) = 0;

  // About what it takes in memory.
  virtual size_t bytes() const = 0;
};

// Any JSON object, in the notation that filters are made of (GBNF), with little space in it: a
// model that may write blanks for ever sometimes does. What readers of JSON refuse is left out:
// half a surrogate pair, and numbers too large for a double.
inline constexpr std::string_view kJsonGrammar = R"(
root   ::= object
value  ::= object | array | string | number | "true" | "false" | "null"
object ::= "{" ws ( string ":" ws value ( "," ws string ":" ws value )* )? ws "}"
array  ::= "[" ws ( value ( "," ws value )* )? ws "]"
string ::= "\"" ( [^"\\\x7F\x00-\x1F] | "\\" ( ["\\/bfnrt] | "u" ( [0-9a-cA-Ce-fE-F] hex | [dD] [0-7] ) hex hex ) )* "\""
hex    ::= [0-9a-fA-F]
number ::= "-"? ( "0" | [1-9] [0-9]{0,15} ) ( "." [0-9]{1,16} )? ( [eE] [-+]? [0-9]{1,2} )?
ws     ::= | " " | "\n" [ \t]{0,20}
)";

}  // namespace corpgrid::inference
