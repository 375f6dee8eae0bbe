#include "inference/llama/grammar_filter.h"

#include <llama.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "base/cpu_time.h"
#include "base/status_macros.h"
#include "fmt/format.h"
#include "inference/grammar_cost.h"

namespace corpgrid::inference {
namespace {

// Adds the processor time that its scope takes.
class Spending {
 public:
  explicit Spending(int64_t* spent_us) : spent_us_(spent_us), began_us_(ThreadCpuUs()) {}
  ~Spending() { *spent_us_ += ThreadCpuUs() - began_us_; }

 private:
  int64_t* const spent_us_;
  const int64_t began_us_;
};

class GrammarFilter final : public TokenFilter {
 public:
  GrammarFilter(llama_sampler* sampler, size_t bytes) : sampler_(sampler), bytes_(bytes) {}
  GrammarFilter(const GrammarFilter&) = delete;
  ~GrammarFilter() override { llama_sampler_free(sampler_); }

  bool Allows(Token token) override {
    const Spending spending(&spent_us_);
    llama_token_data one = {token, 1.0f, 0.0f};
    llama_token_data_array array = {&one, 1, -1, false};
    llama_sampler_apply(sampler_, &array);
    return std::isfinite(one.logit);
  }

  void Mask(std::span<float> logits) override {
    const Spending spending(&spent_us_);
    candidates_.resize(logits.size());
    for (size_t i = 0; i < logits.size(); ++i) {
      candidates_[i] = {static_cast<llama_token>(i), logits[i], 0.0f};
    }
    llama_token_data_array array = {candidates_.data(), candidates_.size(), -1, false};
    llama_sampler_apply(sampler_, &array);
    for (size_t i = 0; i < array.size; ++i) logits[array.data[i].id] = array.data[i].logit;
  }

  absl::Status Accept(Token token) override {
    {
      const Spending spending(&spent_us_);
      llama_sampler_accept(sampler_, token);
    }
    // Usual grammars take microseconds a token; where the ways to read a text double with each
    // bracket, the next tokens would take seconds, hours and days.
    most_us_ += kFilterUsPerToken;
    if (spent_us_ <= most_us_) return absl::OkStatus();
    return absl::InvalidArgumentError(
        "there are too many ways to read this answer by its grammar or schema: alternatives that "
        "begin alike are nested too deep, or there are thousands of them");
  }

  size_t bytes() const override { return bytes_; }

 private:
  llama_sampler* const sampler_;
  const size_t bytes_;
  int64_t spent_us_ = 0;
  int64_t most_us_ = kFilterUs;
  std::vector<llama_token_data> candidates_;
};

// Counts what looks like parentheses in literals, too: such a grammar is refused a little early.
absl::Status CheckSize(const std::string& grammar) {
  if (grammar.size() > TokenFilter::kMaxGrammarBytes) {
    return absl::InvalidArgumentError(fmt::format("the grammar has {} bytes; at most {} allowed",
                                                  grammar.size(), TokenFilter::kMaxGrammarBytes));
  }
  size_t depth = 0, deepest = 0;
  for (const char c : grammar) {
    if (c == '(') deepest = std::max(deepest, ++depth);
    if (c == ')' && depth > 0) --depth;
  }
  if (deepest <= TokenFilter::kMaxGrammarDepth) return absl::OkStatus();
  return absl::InvalidArgumentError(
      fmt::format("the grammar nests {} parentheses; at most {} allowed", deepest,
                  TokenFilter::kMaxGrammarDepth));
}

}  // namespace

absl::StatusOr<std::unique_ptr<TokenFilter>> MakeGrammarFilter(const llama_vocab* vocabulary,
                                                               const std::string& grammar) {
  RETURN_IF_ERROR(CheckSize(grammar));
  ASSIGN_OR_RETURN(const GrammarCost cost, CostOf(grammar));
  if (cost.bytes > TokenFilter::kMaxBytes) {
    return absl::InvalidArgumentError(
        fmt::format("the grammar or schema takes about {} MiB; at most {} are allowed: shorter "
                    "repetitions are needed",
                    cost.bytes >> 20, TokenFilter::kMaxBytes >> 20));
  }
  llama_sampler* sampler = nullptr;
  try {
    sampler = llama_sampler_init_grammar(vocabulary, grammar.c_str(), "root");
  } catch (const std::exception& error) {
    return absl::InvalidArgumentError(fmt::format("the grammar is not valid: {}", error.what()));
  }
  if (sampler == nullptr) {
    return absl::InvalidArgumentError(
        "the grammar is not valid GBNF, or has no rule \"root\" that ends");
  }
  return std::make_unique<GrammarFilter>(sampler, cost.bytes);
}

}  // namespace corpgrid::inference
