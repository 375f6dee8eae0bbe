#include "inference/llama/embedder.h"

#include <llama.h>

#include <algorithm>
#include <cmath>

#include "fmt/format.h"
#include "inference/llama/library.h"

namespace corpgrid::inference {
namespace {

absl::StatusOr<llama_context*> MakeContext(const Model* model, uint32_t limit, uint32_t threads,
                                           enum llama_pooling_type pooling) {
  llama_context_params params = EmbedderParams(limit, threads);
  params.pooling_type = pooling;
  const LogCapture log;
  llama_context* made = llama_init_from_model(model->get(), params);
  if (made != nullptr) return made;
  return absl::ResourceExhaustedError(
      fmt::format("no memory for embeddings of {} tokens can be made: {}", limit,
                  log.LastError("no reason was given")));
}

}  // namespace

uint32_t TextLimit(const Model& model, uint32_t context) {
  const uint32_t trained = model.facts().trained_context;
  return model.facts().only_embeds && trained > 0 ? std::min(context, trained) : context;
}

llama_context_params EmbedderParams(uint32_t limit, uint32_t threads) {
  llama_context_params params = llama_context_default_params();
  // A text is computed as a whole: what pools sees all of it at once.
  params.n_ctx = params.n_batch = params.n_ubatch = limit;
  params.n_seq_max = 1;
  params.n_threads = params.n_threads_batch = static_cast<int32_t>(threads);
  params.embeddings = true;
  params.no_perf = true;
  return params;
}

absl::StatusOr<std::unique_ptr<Embedder>> Embedder::Create(const Model* model, uint32_t context,
                                                           uint32_t threads) {
  const uint32_t limit = TextLimit(*model, context);
  enum llama_pooling_type pooling = LLAMA_POOLING_TYPE_UNSPECIFIED;  // as the file says
  absl::StatusOr<llama_context*> made = MakeContext(model, limit, threads, pooling);
  if (made.ok() && llama_pooling_type(*made) == LLAMA_POOLING_TYPE_NONE) {
    llama_free(*made);
    made = MakeContext(model, limit, threads, LLAMA_POOLING_TYPE_MEAN);
  }
  if (!made.ok()) return made.status();
  std::unique_ptr<Embedder> embedder(new Embedder(model, *made));
  pooling = llama_pooling_type(*made);
  if (pooling != LLAMA_POOLING_TYPE_MEAN && pooling != LLAMA_POOLING_TYPE_CLS &&
      pooling != LLAMA_POOLING_TYPE_LAST) {
    return absl::UnimplementedError("this model ranks texts; it has no embeddings of them");
  }
  return embedder;
}

Embedder::~Embedder() { llama_free(context_); }

absl::StatusOr<std::vector<float>> Embedder::Embed(std::span<const Token> text) {
  if (text.empty() || text.size() > llama_n_batch(context_)) {
    return absl::InvalidArgumentError(fmt::format("a text has {} tokens; it may have 1 to {}",
                                                  text.size(), llama_n_batch(context_)));
  }
  for (const Token token : text) {
    if (token >= 0 && static_cast<uint32_t>(token) < model_->facts().vocabulary) continue;
    return absl::InvalidArgumentError(
        fmt::format("the text has the token {}; this model's tokens "
                    "are 0 to {}",
                    token, model_->facts().vocabulary - 1));
  }
  if (llama_memory_t memory = llama_get_memory(context_)) llama_memory_clear(memory, true);
  std::vector<Token> tokens(text.begin(), text.end());
  const int32_t failed = llama_decode(
      context_, llama_batch_get_one(tokens.data(), static_cast<int32_t>(tokens.size())));
  const float* values = failed == 0 ? llama_get_embeddings_seq(context_, 0) : nullptr;
  if (values == nullptr) {
    return absl::InternalError(
        fmt::format("a text of {} tokens could not be computed", text.size()));
  }
  std::vector<float> embedding(values, values + llama_model_n_embd_out(model_->get()));
  double sum = 0;
  for (const float value : embedding) sum += static_cast<double>(value) * value;
  const double length = std::sqrt(sum);
  if (!(length > 0) || !std::isfinite(length)) {
    return absl::InternalError("the model made no embedding of this text");
  }
  for (float& value : embedding) value = static_cast<float>(value / length);
  return embedding;
}

}  // namespace corpgrid::inference
