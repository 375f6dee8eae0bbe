#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

namespace corpgrid::inference {

using Token = int32_t;  // an entry of the model's vocabulary

class TokenFilter;

// What tokens stand for. Any thread.
class Vocabulary {
 public:
  virtual ~Vocabulary() = default;

  // `special`: whether "<s>" and the like in the text stand for control tokens. The beginning that
  // the model expects is added when `add_start`. Errors: InvalidArgument for a text too large,
  // FailedPrecondition when the model has no tokenizer.
  virtual absl::StatusOr<std::vector<Token>> Tokenize(std::string_view text, bool add_start,
                                                      bool special) const = 0;

  // What allows only texts of a grammar (inference/token_filter.h), in which names of control
  // tokens count `with_control`. Errors: InvalidArgument.
  virtual absl::StatusOr<std::unique_ptr<TokenFilter>> MakeFilter(const std::string& grammar,
                                                                  bool with_control) const = 0;

  // The bytes that the token adds to a text; maybe a part of a character. Control tokens add none,
  // or with `control` their names.
  virtual std::string Piece(Token token, bool control) const = 0;

  // Whether the model ends its answer with this token.
  virtual bool IsEnd(Token token) const = 0;
};

}  // namespace corpgrid::inference
