#include "inference/llama/llama_decoder.h"

#include <llama.h>

#include <algorithm>

#include "base/check.h"
#include "base/status_macros.h"
#include "fmt/format.h"
#include "inference/llama/library.h"

namespace corpgrid::inference {

absl::Status DecoderOptions::Check() const {
  const auto most_slots = static_cast<uint32_t>(llama_max_parallel_sequences());
  if (slots == 0 || slots > most_slots) {
    return absl::InvalidArgumentError(
        fmt::format("{} sequences are asked for; 1 to {} are possible", slots, most_slots));
  }
  if (context < 16 || context > (1u << 24)) {
    return absl::InvalidArgumentError(fmt::format(
        "a context of {} tokens is asked for; 16 to {} are possible", context, 1u << 24));
  }
  if (step_tokens < slots || step_tokens > 65536) {
    return absl::InvalidArgumentError(
        fmt::format("a step of {} tokens is asked for; {} (one a sequence) to 65536 are possible",
                    step_tokens, slots));
  }
  return absl::OkStatus();
}

llama_context_params ContextParams(const DecoderOptions& options) {
  const bool shared = options.layout == KvShape::Layout::kShared;
  llama_context_params params = llama_context_default_params();
  params.n_ctx = shared ? options.context : options.context * options.slots;
  params.n_batch = params.n_ubatch = options.step_tokens;
  params.n_seq_max = options.slots;
  // Of a sequence only its last token's are wanted.
  params.n_outputs_max = options.all_logits ? options.step_tokens : options.slots;
  params.n_threads = params.n_threads_batch = static_cast<int32_t>(options.threads);
  params.kv_unified = shared;
  params.swa_full = true;  // or what lies before the window is lost, and no prefix can be reused
  if (options.full_precision) {
    params.type_k = params.type_v = GGML_TYPE_F32;
    params.flash_attn_type = LLAMA_FLASH_ATTN_TYPE_DISABLED;
  }
  params.no_perf = true;
  return params;
}

absl::StatusOr<std::unique_ptr<LlamaDecoder>> LlamaDecoder::Create(const Model* model,
                                                                   const DecoderOptions& options) {
  RETURN_IF_ERROR(options.Check());
  const LogCapture log;
  llama_context* context = llama_init_from_model(model->get(), ContextParams(options));
  if (context == nullptr) {
    return absl::ResourceExhaustedError(
        fmt::format("no memory of {} sequences of {} tokens can be made: {}", options.slots,
                    options.context, log.LastError("no reason was given")));
  }
  return std::unique_ptr<LlamaDecoder>(new LlamaDecoder(model, context, options));
}

LlamaDecoder::LlamaDecoder(const Model* model, llama_context* context,
                           const DecoderOptions& options)
    : context_(context), vocabulary_size_(model->facts().vocabulary) {
  shape_.layout = options.layout;
  shape_.slots = options.slots;
  shape_.cells = llama_n_ctx(context);
  shape_.max_sequence = std::min(options.context, llama_n_ctx_seq(context));
  shape_.reuses_prefixes = model->facts().reuses_prefixes;
}

LlamaDecoder::~LlamaDecoder() { llama_free(context_); }

absl::Status LlamaDecoder::Decode(std::span<const Row> rows) {
  const size_t count = rows.size();
  for (auto* column : {&tokens_, &positions_, &slot_counts_, &slots_}) column->resize(count);
  slot_pointers_.resize(count);
  wants_logits_.resize(count);
  for (size_t i = 0; i < count; ++i) {
    tokens_[i] = rows[i].token;
    positions_[i] = static_cast<int32_t>(rows[i].position);
    slots_[i] = static_cast<int32_t>(rows[i].slot);
    slot_counts_[i] = 1;
    slot_pointers_[i] = &slots_[i];
    wants_logits_[i] = rows[i].wants_logits ? 1 : 0;
  }
  llama_batch batch = {};
  batch.n_tokens = static_cast<int32_t>(count);
  batch.token = tokens_.data();
  batch.pos = positions_.data();
  batch.n_seq_id = slot_counts_.data();
  batch.seq_id = slot_pointers_.data();
  batch.logits = wants_logits_.data();
  const int32_t result = llama_decode(context_, batch);
  if (result == 0) return absl::OkStatus();
  if (result == 1) {
    return absl::ResourceExhaustedError(
        fmt::format("the memory has no room for a step of {} tokens", count));
  }
  return absl::InternalError(fmt::format(
      "the model could not compute a step of {} tokens (libllama's code {})", count, result));
}

std::span<const float> LlamaDecoder::Logits(size_t row) {
  const float* logits = llama_get_logits_ith(context_, static_cast<int32_t>(row));
  CHECK_INVARIANT(logits != nullptr);
  return {logits, vocabulary_size_};
}

void LlamaDecoder::CopyPrefix(uint32_t from, uint32_t to, uint32_t length) {
  const llama_memory_t memory = llama_get_memory(context_);
  const auto source = static_cast<llama_seq_id>(from), target = static_cast<llama_seq_id>(to);
  if (shape_.layout == KvShape::Layout::kShared) {
    llama_memory_seq_cp(memory, source, target, 0, static_cast<llama_pos>(length));
    return;
  }
  // Between streams a part cannot be copied: the library would end the process.
  llama_memory_seq_cp(memory, source, target, -1, -1);
  Truncate(to, length);
}

void LlamaDecoder::Truncate(uint32_t slot, uint32_t length) {
  const llama_memory_t memory = llama_get_memory(context_);
  const auto sequence = static_cast<llama_seq_id>(slot);
  if (length > 0 && llama_memory_seq_rm(memory, sequence, static_cast<llama_pos>(length), -1)) {
    return;
  }
  llama_memory_seq_rm(memory, sequence, -1, -1);
}

void LlamaDecoder::SetThreads(uint32_t threads) {
  const auto count = static_cast<int32_t>(threads);
  llama_set_n_threads(context_, count, count);
}

}  // namespace corpgrid::inference
