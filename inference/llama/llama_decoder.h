#pragma once

#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "inference/decoder.h"
#include "inference/llama/model.h"

struct llama_context;
struct llama_context_params;

namespace corpgrid::inference {

struct DecoderOptions {
  uint32_t slots = 16;         // sequences at once
  uint32_t context = 4096;     // tokens of each sequence; with a shared pool of all together
  uint32_t step_tokens = 512;  // at most, in one step
  uint32_t threads = 1;        // at first
  KvShape::Layout layout = KvShape::Layout::kStreams;
  // Keys and values as 32-bit numbers, attention not fused: what else is in a step then changes the
  // last bits of a logit only. As libllama does it otherwise (16 bits), it changes the fourth
  // digit.
  bool full_precision = false;
  bool all_logits = false;  // of every token of a step; otherwise of one a sequence

  // Errors: InvalidArgument that names the value and what is allowed.
  absl::Status Check() const;
};

// The same for an estimate as for use.
llama_context_params ContextParams(const DecoderOptions& options);

// A model at work through libllama. One thread at a time.
class LlamaDecoder final : public Decoder {
 public:
  // `model` must outlive it. Errors: ResourceExhausted with the library's words when there is no
  // memory for it, InvalidArgument for options out of range.
  static absl::StatusOr<std::unique_ptr<LlamaDecoder>> Create(const Model* model,
                                                              const DecoderOptions& options);
  ~LlamaDecoder() override;

  const KvShape& shape() const override { return shape_; }
  uint32_t vocabulary_size() const override { return vocabulary_size_; }
  absl::Status Decode(std::span<const Row> rows) override;
  std::span<const float> Logits(size_t row) override;
  void CopyPrefix(uint32_t from, uint32_t to, uint32_t length) override;
  void Truncate(uint32_t slot, uint32_t length) override;
  void SetThreads(uint32_t threads) override;

 private:
  LlamaDecoder(const Model* model, llama_context* context, const DecoderOptions& options);

  llama_context* const context_;
  const uint32_t vocabulary_size_;
  KvShape shape_;
  // A batch, column by column, as libllama wants it.
  std::vector<int32_t> tokens_, positions_, slot_counts_, slots_;
  std::vector<int32_t*> slot_pointers_;
  std::vector<int8_t> wants_logits_;
};

}  // namespace corpgrid::inference
