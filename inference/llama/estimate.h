#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "inference/llama/llama_decoder.h"

namespace corpgrid::inference {

// The memory that a worker needs for a model. The library loads it without weights and lays out its
// buffers without making them, so the figures are its own; it tells them in its log only.
struct MemoryEstimate {
  uint64_t weight_bytes = 0;
  uint64_t kv_bytes = 0;       // keys and values, or what the architecture keeps instead
  uint64_t compute_bytes = 0;  // what a step works in, and its logits
  uint64_t process_bytes = 0;  // the worker without a model

  uint64_t total_bytes() const { return weight_bytes + kv_bytes + compute_bytes + process_bytes; }
};

// Any thread, one call at a time. Errors: those of Model::Load() and LlamaDecoder::Create().
absl::StatusOr<MemoryEstimate> EstimateMemory(const std::string& path,
                                              const DecoderOptions& options);

// Adds up what these lines of the library's log tell of a context's buffers. Errors: Internal when
// they tell of none.
absl::StatusOr<MemoryEstimate> ReadBufferSizes(const std::vector<std::string>& lines);

}  // namespace corpgrid::inference
