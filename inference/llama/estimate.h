#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "inference/llama/llama_decoder.h"
#include "inference/model_facts.h"

namespace corpgrid::inference {

// The memory that a worker needs for a model, with a GPU that ListGpus() tells of or, empty, with
// processors alone. The library loads it without weights and lays out its buffers without making
// them, so the figures are its own; it tells them in its log only.
// Any thread, one call at a time. Errors: those of Model::Load() and LlamaDecoder::Create().
absl::StatusOr<MemoryEstimate> EstimateMemory(const std::string& path,
                                              const DecoderOptions& options,
                                              const std::string& gpu = "");

// What an Embedder takes beside a worker that generates, its buffers alone. Otherwise as above.
absl::StatusOr<MemoryEstimate> EstimateEmbedder(const std::string& path, uint32_t context,
                                                uint32_t threads, const std::string& gpu = "");

// Adds up what these lines of the library's log tell of a context's buffers. Errors: Internal when
// they tell of none.
absl::StatusOr<MemoryEstimate> ReadBufferSizes(const std::vector<std::string>& lines,
                                               const std::string& gpu = "");

}  // namespace corpgrid::inference
