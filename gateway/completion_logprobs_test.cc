#include "gateway/completion_logprobs.h"

#include <gtest/gtest.h>

#include <string>

namespace corpgrid::gateway {
namespace {

corpgrid::v1::Piece MakePiece(const std::string& text) {
  corpgrid::v1::Piece piece;
  piece.set_text(text);
  piece.mutable_token()->set_piece(text);
  piece.mutable_token()->set_logprob(-1);
  return piece;
}

TEST(CompletionLogprobsTest, CountsCharactersNotBytes) {
  CompletionLogprobs logprobs;
  logprobs.Add(MakePiece("h\u00e9"));
  logprobs.Add(MakePiece(""));  // the first half of a character
  logprobs.Add(MakePiece("\u65e5\U0001f600"));
  const Json first = logprobs.Take();
  EXPECT_EQ(Dump(first["text_offset"]), "[0,2,2]");
  EXPECT_EQ(first["tokens"].size(), 3u);
  EXPECT_EQ(Dump(first["token_logprobs"]), "[-1.0,-1.0,-1.0]");
  EXPECT_EQ(first["top_logprobs"].size(), 3u);
  logprobs.Add(MakePiece("x"));
  const Json second = logprobs.Take();
  EXPECT_EQ(Dump(second["text_offset"]), "[4]");
  EXPECT_EQ(Dump(second["tokens"]), "[\"x\"]");
}

}  // namespace
}  // namespace corpgrid::gateway
