#pragma once

#include <cstdint>
#include <string>

namespace corpgrid::inference {

using Token = int32_t;  // an entry of the model's vocabulary

// What tokens stand for. Any thread.
class Vocabulary {
 public:
  virtual ~Vocabulary() = default;

  // The bytes that the token adds to a text; maybe a part of a character. Control tokens add none.
  virtual std::string Piece(Token token) const = 0;

  // Whether the model ends its answer with this token.
  virtual bool IsEnd(Token token) const = 0;
};

}  // namespace corpgrid::inference
