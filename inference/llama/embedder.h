#pragma once

#include <memory>
#include <span>
#include <vector>

#include "absl/status/statusor.h"
#include "inference/llama/model.h"

struct llama_context;
struct llama_context_params;

namespace corpgrid::inference {

// Tokens that a text may have: those asked for, but no more than a model that only embeds was
// trained with, for which there may be no places.
uint32_t TextLimit(const Model& model, uint32_t context);

// The same for an estimate as for use. `limit`: TextLimit().
llama_context_params EmbedderParams(uint32_t limit, uint32_t threads);

// Turns texts into vectors, pooled as the model's file says (mean, first or last token; mean where
// it says nothing) and of length one. It has a memory of its own beside that of answers. One thread
// at a time.
class Embedder {
 public:
  // `model` must outlive it. `context`: tokens for TextLimit(). Errors: Unimplemented
  // for a model that ranks, ResourceExhausted with the library's words when there is no memory.
  static absl::StatusOr<std::unique_ptr<Embedder>> Create(const Model* model, uint32_t context,
                                                          uint32_t threads);
  Embedder(const Embedder&) = delete;
  ~Embedder();

  // Errors: InvalidArgument for a text that is empty or too long, or a token that there is not;
  // Internal.
  absl::StatusOr<std::vector<float>> Embed(std::span<const Token> text);

 private:
  Embedder(const Model* model, llama_context* context) : model_(model), context_(context) {}

  const Model* const model_;
  llama_context* const context_;
};

}  // namespace corpgrid::inference
