#include "inference/sampling.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <string_view>

#include "fmt/format.h"

namespace corpgrid::inference {
namespace {

// Candidates below e^-30 of the likeliest cannot be drawn: chance has 53 bits.
constexpr float kNegligible = -30;
// What is colder draws the likeliest, in any case that floats tell apart; its inverse may be
// infinite.
constexpr double kColdest = 1e-5;

// The finaliser of SplitMix64 (Steele, Lea, Flood: Fast Splittable Pseudorandom Number Generators).
uint64_t Mix(uint64_t x) {
  x += 0x9e3779b97f4a7c15;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9;
  x = (x ^ (x >> 27)) * 0x94d049bb133111eb;
  return x ^ (x >> 31);
}

// The first of the largest. Several running maxima, so that the compiler can use vectors.
Token Likeliest(std::span<const float> logits) {
  constexpr size_t kLanes = 16;
  float best[kLanes];
  std::fill(std::begin(best), std::end(best), -std::numeric_limits<float>::infinity());
  size_t i = 0;
  for (; i + kLanes <= logits.size(); i += kLanes) {
    for (size_t lane = 0; lane < kLanes; ++lane) {
      best[lane] = logits[i + lane] > best[lane] ? logits[i + lane] : best[lane];
    }
  }
  float most = *std::max_element(std::begin(best), std::end(best));
  for (; i < logits.size(); ++i) most = std::max(most, logits[i]);
  const auto found = std::find(logits.begin(), logits.end(), most);
  return found == logits.end() ? 0 : static_cast<Token>(found - logits.begin());
}

double LogOfSum(std::span<const float> logits, float most) {
  double sum = 0;
  for (const float logit : logits) sum += std::exp(logit - most);
  return most + std::log(sum);
}

absl::Status CheckRange(std::string_view field, double value, double low, double high) {
  if (value >= low && value <= high) return absl::OkStatus();
  return absl::InvalidArgumentError(
      fmt::format("{} is {}; it may be from {} to {}", field, value, low, high));
}

}  // namespace

double ChanceAt(uint64_t seed, uint64_t position) {
  return static_cast<double>(Mix(Mix(seed) ^ Mix(~position)) >> 11) * 0x1p-53;
}

uint64_t SeedOfChoice(uint64_t seed, uint32_t choice) {
  return choice == 0 ? seed : Mix(seed + choice);
}

absl::Status Sampling::Check(uint32_t vocabulary_size) const {
  struct {
    std::string_view field;
    double value, low, high;
  } const ranges[] = {{"temperature", temperature, 0, 100},
                      {"top_p", top_p, 0, 1},
                      {"min_p", min_p, 0, 1},
                      {"presence_penalty", presence_penalty, -100, 100},
                      {"frequency_penalty", frequency_penalty, -100, 100},
                      {"top_logprobs", static_cast<double>(top_logprobs), 0, kMaxTopLogprobs}};
  for (const auto& [field, value, low, high] : ranges) {
    if (absl::Status status = CheckRange(field, value, low, high); !status.ok()) return status;
  }
  if (logit_bias.size() > kMaxBiases) {
    return absl::InvalidArgumentError(fmt::format(
        "logit_bias names {} tokens; at most {} are allowed", logit_bias.size(), kMaxBiases));
  }
  for (const auto& [token, bias] : logit_bias) {
    if (token < 0 || static_cast<uint32_t>(token) >= vocabulary_size || std::isnan(bias)) {
      return absl::InvalidArgumentError(
          fmt::format("logit_bias gives token {} the bias {}; tokens are from 0 to {}", token, bias,
                      vocabulary_size - 1));
    }
  }
  return absl::OkStatus();
}

absl::Status Sampler::Accept(Token token) {
  if (sampling_.presence_penalty != 0 || sampling_.frequency_penalty != 0) ++counts_[token];
  return filter_ ? filter_->Accept(token) : absl::OkStatus();
}

std::span<const float> Sampler::Adjust(std::span<const float> logits) {
  if (sampling_.logit_bias.empty() && counts_.empty()) return logits;
  adjusted_.assign(logits.begin(), logits.end());
  for (const auto& [token, bias] : sampling_.logit_bias) adjusted_[token] += bias;
  for (const auto& [token, count] : counts_) {
    adjusted_[token] -=
        static_cast<float>(sampling_.presence_penalty + sampling_.frequency_penalty * count);
  }
  return adjusted_;
}

std::optional<Token> Sampler::Choose(std::span<const float> logits, uint32_t position) {
  const auto choose = [&](uint64_t seed) {
    return sampling_.temperature < kColdest ? Likeliest(logits)
                                            : Draw(logits, ChanceAt(seed, position));
  };
  const Token token = choose(sampling_.seed);
  if (!filter_ || filter_->Allows(token)) return token;
  // To ask about all tokens takes long. With a second draw among the allowed ones, their
  // probabilities are as if those alone had been asked for from the start.
  if (logits.data() != adjusted_.data()) adjusted_.assign(logits.begin(), logits.end());
  filter_->Mask(adjusted_);
  logits = adjusted_;
  if (!std::isfinite(logits[Likeliest(logits)])) return std::nullopt;
  return choose(~sampling_.seed);
}

std::optional<SampledToken> Sampler::Sample(std::span<const float> logits, uint32_t position) {
  const std::optional<Token> token = Choose(Adjust(logits), position);
  if (!token) return std::nullopt;
  SampledToken sampled;
  sampled.chosen.token = *token;
  if (!sampling_.logprobs) return sampled;
  const double sum = LogOfSum(logits, logits[Likeliest(logits)]);
  const auto logprob = [&](Token of) { return static_cast<float>(logits[of] - sum); };
  sampled.chosen.logprob = logprob(sampled.chosen.token);
  std::vector<Token> order(logits.size());
  for (size_t i = 0; i < order.size(); ++i) order[i] = static_cast<Token>(i);
  const auto top = order.begin() + std::min<ptrdiff_t>(sampling_.top_logprobs, std::ssize(order));
  std::partial_sort(order.begin(), top, order.end(), [&](Token a, Token b) {
    return logits[a] != logits[b] ? logits[a] > logits[b] : a < b;
  });
  for (auto it = order.begin(); it != top; ++it) sampled.likeliest.push_back({*it, logprob(*it)});
  return sampled;
}

Token Sampler::Draw(std::span<const float> logits, double chance) {
  const float most = logits[Likeliest(logits)];
  if (!std::isfinite(most)) return Likeliest(logits);
  const float scale = 1 / static_cast<float>(sampling_.temperature);
  // What min_p cuts off need not be looked at.
  const float least = sampling_.min_p > 0
                          ? std::max(kNegligible, static_cast<float>(std::log(sampling_.min_p)))
                          : kNegligible;
  candidates_.clear();
  for (size_t i = 0; i < logits.size(); ++i) {
    const float distance = (logits[i] - most) * scale;
    if (distance >= least) candidates_.push_back({static_cast<Token>(i), std::exp(distance)});
  }
  const auto likelier = [](const Candidate& a, const Candidate& b) {
    return a.probability != b.probability ? a.probability > b.probability : a.token < b.token;
  };
  if (sampling_.top_k > 0 && sampling_.top_k < candidates_.size()) {
    std::nth_element(candidates_.begin(), candidates_.begin() + sampling_.top_k - 1,
                     candidates_.end(), likelier);
    candidates_.resize(sampling_.top_k);
  }
  // Also after nth_element, which leaves an order of its own.
  if (sampling_.top_k > 0 || sampling_.top_p < 1) {
    std::sort(candidates_.begin(), candidates_.end(), likelier);
  }
  double sum = 0;
  for (const Candidate& candidate : candidates_) sum += candidate.probability;
  if (sampling_.top_p < 1) {
    double kept = 0;
    size_t count = 0;
    while (count < candidates_.size() && (count == 0 || kept < sampling_.top_p * sum)) {
      kept += candidates_[count++].probability;
    }
    candidates_.resize(count);
    sum = kept;
  }
  double left = chance * sum;
  for (const Candidate& candidate : candidates_) {
    left -= candidate.probability;
    if (left < 0) return candidate.token;
  }
  return candidates_.back().token;
}

}  // namespace corpgrid::inference
