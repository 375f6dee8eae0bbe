#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <unordered_map>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "inference/token.h"
#include "inference/token_filter.h"

namespace corpgrid::inference {

// How the next token is chosen, in this order: bias and penalties on the logits, temperature, then
// top_k, top_p and min_p on the probabilities.
struct Sampling {
  static constexpr uint32_t kMaxTopLogprobs = 20;
  static constexpr size_t kMaxBiases = 1024;

  double temperature = 1;  // 0: always the likeliest token
  uint32_t top_k = 0;      // 0: no limit
  double top_p = 1;
  double min_p = 0;              // of the likeliest token's probability
  double presence_penalty = 0;   // once for a token that the answer has already
  double frequency_penalty = 0;  // for each time that the answer has it
  std::vector<std::pair<Token, float>> logit_bias;
  uint64_t seed = 0;
  bool logprobs = false;
  uint32_t top_logprobs = 0;  // of the likeliest tokens, beside the chosen one's

  // Errors: InvalidArgument that names the field, its value and what is allowed.
  absl::Status Check(uint32_t vocabulary_size) const;
};

struct TokenLogprob {
  Token token = 0;
  float logprob = 0;  // of the model's own distribution, before bias, penalties and temperature
};

struct SampledToken {
  TokenLogprob chosen;                    // the logprob only when asked for
  std::vector<TokenLogprob> likeliest{};  // descending
};

// Chooses the tokens of one answer. Chance is a function of the seed and the token's position, so
// that an answer that is computed again is the same. One thread at a time.
class Sampler {
 public:
  explicit Sampler(Sampling sampling) : sampling_(std::move(sampling)) {}

  // Which tokens may come, from the first one on; null: all.
  void SetFilter(std::unique_ptr<TokenFilter> filter) { filter_ = std::move(filter); }

  // `position`: of the token to come, from the start of the answer. Nothing when the filter allows
  // no token.
  std::optional<SampledToken> Sample(std::span<const float> logits, uint32_t position);

  // The answer goes on with `token`. Errors: the filter's.
  absl::Status Accept(Token token);

 private:
  struct Candidate {
    Token token;
    float probability;  // relative to the likeliest
  };

  std::span<const float> Adjust(std::span<const float> logits);
  std::optional<Token> Choose(std::span<const float> logits, uint32_t position);
  Token Draw(std::span<const float> logits, double chance);

  Sampling sampling_;
  std::unique_ptr<TokenFilter> filter_;
  std::unordered_map<Token, uint32_t> counts_;  // of the answer so far; only with penalties
  std::vector<float> adjusted_;
  std::vector<Candidate> candidates_;
};

// In [0, 1), the same for the same arguments on every machine.
double ChanceAt(uint64_t seed, uint64_t position);

// The seed of the choice numbered `choice` of a request.
uint64_t SeedOfChoice(uint64_t seed, uint32_t choice);

}  // namespace corpgrid::inference
