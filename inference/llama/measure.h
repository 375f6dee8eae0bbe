#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "absl/status/statusor.h"
#include "inference/llama/model.h"

namespace corpgrid::inference {

struct Speed {
  double prompt_tokens_per_s = 0;
  double answer_tokens_per_s = 0;
};

// How well a model says what a text goes on with. Of each chunk of the text the second half counts,
// as in llama-perplexity: what comes first has too little before it.
struct Quality {
  uint32_t tokens = 0;         // that were counted
  double perplexity = 0;       // exp of the mean of -ln p(token)
  double error = 0;            // of the perplexity: one standard error
  double mean_divergence = 0;  // Kullback-Leibler, from the reference to the model, in nats a token
  double p99_divergence = 0;
  double same_top = 0;  // share of tokens where both hold the same one likeliest
};

struct QualityOptions {
  uint32_t chunk_tokens = 512;
  uint32_t max_tokens = 4096;  // of the text
  uint32_t threads = 1;
};

// Of one sequence: a prompt of 512 tokens, then an answer of 64, the better of two turns. One
// thread at a time. Errors: those of LlamaDecoder.
absl::StatusOr<Speed> MeasureSpeed(const Model& model, uint32_t threads);

// `reference`: null for none; the divergences are zero then. One thread at a time. Errors:
// InvalidArgument when the text is shorter than a chunk, or the two models' vocabularies differ;
// those of LlamaDecoder.
absl::StatusOr<Quality> MeasureQuality(const Model& model, const Model* reference,
                                       const std::string& text, const QualityOptions& options,
                                       const std::function<void(double)>& on_progress);

}  // namespace corpgrid::inference
