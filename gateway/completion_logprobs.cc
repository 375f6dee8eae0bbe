#include "gateway/completion_logprobs.h"

#include <algorithm>
#include <string_view>
#include <utility>

namespace corpgrid::gateway {
namespace {

// Of UTF-8: the bytes that begin one.
size_t Characters(std::string_view text) {
  return static_cast<size_t>(
      std::count_if(text.begin(), text.end(), [](char c) { return (c & 0xc0) != 0x80; }));
}

}  // namespace

void CompletionLogprobs::Add(const corpgrid::v1::Piece& piece) {
  tokens_.push_back(piece.token().piece());
  logprobs_.push_back(piece.token().logprob());
  Json likeliest = Json::object();
  for (const corpgrid::v1::TokenLogprob& token : piece.likeliest()) {
    likeliest[token.piece()] = token.logprob();
  }
  top_.push_back(std::move(likeliest));
  offsets_.push_back(characters_);
  characters_ += Characters(piece.text());
}

Json CompletionLogprobs::Take() {
  Json taken = Json::object();
  taken["tokens"] = std::exchange(tokens_, Json::array());
  taken["token_logprobs"] = std::exchange(logprobs_, Json::array());
  taken["top_logprobs"] = std::exchange(top_, Json::array());
  taken["text_offset"] = std::exchange(offsets_, Json::array());
  return taken;
}

}  // namespace corpgrid::gateway
