#pragma once

#include "corpgrid/v1/worker.pb.h"
#include "gateway/fields.h"

namespace corpgrid::gateway {

// The logprobs of an answer, as /v1/completions has them. One thread.
class CompletionLogprobs {
 public:
  void Add(const corpgrid::v1::Piece& piece);

  // Those since the last time. "text_offset" counts characters (Unicode code points) from the
  // answer's beginning, as OpenAI does: clients cut strings of characters by it.
  Json Take();

 private:
  Json tokens_ = Json::array();
  Json logprobs_ = Json::array();
  Json top_ = Json::array();
  Json offsets_ = Json::array();
  size_t characters_ = 0;  // of the answer so far
};

}  // namespace corpgrid::gateway
