#include "inference/llama/measure.h"

#include <llama.h>

#include <algorithm>
#include <cmath>
#include <memory>
#include <vector>

#include "base/clock.h"
#include "base/status_macros.h"
#include "fmt/format.h"
#include "inference/llama/llama_decoder.h"

namespace corpgrid::inference {
namespace {

constexpr uint32_t kPromptTokens = 512;
constexpr uint32_t kAnswerTokens = 64;
constexpr int kTurns = 2;

absl::Status CheckGenerates(const Model& model) {
  if (!model.facts().only_embeds) return absl::OkStatus();
  return absl::UnimplementedError("this model only makes embeddings: there is no text to measure");
}

// One sequence whose every token's logits can be asked for.
class Reader {
 public:
  static absl::StatusOr<std::unique_ptr<Reader>> Make(const Model& model,
                                                      const QualityOptions& options) {
    RETURN_IF_ERROR(CheckGenerates(model));
    ASSIGN_OR_RETURN(auto decoder,
                     LlamaDecoder::Create(&model, {.slots = 1,
                                                   .context = options.chunk_tokens,
                                                   .step_tokens = options.chunk_tokens,
                                                   .threads = options.threads,
                                                   .all_logits = true}));
    return std::unique_ptr<Reader>(new Reader(std::move(decoder)));
  }

  // The logits from `first` on are there until the next one.
  absl::Status Read(std::span<const Token> tokens, size_t first) {
    decoder_->Truncate(0, 0);
    std::vector<Row> rows;
    for (size_t i = 0; i < tokens.size(); ++i) {
      rows.push_back({.token = tokens[i],
                      .position = static_cast<uint32_t>(i),
                      .slot = 0,
                      .wants_logits = i >= first});
    }
    return decoder_->Decode(rows);
  }

  std::span<const float> Logits(size_t position) { return decoder_->Logits(position); }

 private:
  explicit Reader(std::unique_ptr<LlamaDecoder> decoder) : decoder_(std::move(decoder)) {}

  std::unique_ptr<LlamaDecoder> decoder_;
};

// ln of the sum of e^x, without overflow.
double LogSum(std::span<const float> logits) {
  const double most = *std::max_element(logits.begin(), logits.end());
  double sum = 0;
  for (const float x : logits) sum += std::exp(x - most);
  return most + std::log(sum);
}

// From p to q: the sum of p ln(p / q).
double Divergence(std::span<const float> p, std::span<const float> q) {
  const double p_sum = LogSum(p), q_sum = LogSum(q);
  double divergence = 0;
  for (size_t i = 0; i < p.size(); ++i) {
    const double log_p = p[i] - p_sum;
    divergence += std::exp(log_p) * (log_p - (q[i] - q_sum));
  }
  return std::max(0.0, divergence);
}

size_t Likeliest(std::span<const float> logits) {
  return static_cast<size_t>(std::max_element(logits.begin(), logits.end()) - logits.begin());
}

// What was seen at each token.
struct Seen {
  std::vector<double> surprises;  // -ln p
  std::vector<double> divergences;
  uint32_t same_top = 0;

  Quality Sum() {
    Quality quality;
    const auto count = static_cast<double>(surprises.size());
    double sum = 0, squares = 0;
    for (const double x : surprises) sum += x;
    const double mean = sum / count;
    for (const double x : surprises) squares += (x - mean) * (x - mean);
    quality.tokens = static_cast<uint32_t>(surprises.size());
    quality.perplexity = std::exp(mean);
    quality.error = count > 1 ? quality.perplexity * std::sqrt(squares / (count - 1) / count) : 0;
    if (divergences.empty()) return quality;
    double all = 0;
    for (const double x : divergences) all += x;
    std::sort(divergences.begin(), divergences.end());
    quality.mean_divergence = all / count;
    quality.p99_divergence = divergences[divergences.size() * 99 / 100];
    quality.same_top = same_top / count;
    return quality;
  }
};

// Each chunk begins as texts of this model do.
void BeginText(const Model& model, std::vector<Token>* chunk) {
  const llama_vocab* vocabulary = model.vocabulary();
  if (llama_vocab_get_add_bos(vocabulary)) chunk->front() = llama_vocab_bos(vocabulary);
}

}  // namespace

absl::StatusOr<Speed> MeasureSpeed(const Model& model, uint32_t threads) {
  RETURN_IF_ERROR(CheckGenerates(model));
  ASSIGN_OR_RETURN(const auto decoder,
                   LlamaDecoder::Create(&model, {.slots = 1,
                                                 .context = kPromptTokens + kAnswerTokens,
                                                 .step_tokens = kPromptTokens,
                                                 .threads = threads}));
  std::vector<Row> prompt(kPromptTokens);
  for (uint32_t i = 0; i < kPromptTokens; ++i) {
    prompt[i] = {.token = static_cast<Token>(i * 7919 % model.facts().vocabulary),
                 .position = i,
                 .slot = 0,
                 .wants_logits = i + 1 == kPromptTokens};
  }
  Speed best;
  for (int turn = 0; turn < kTurns; ++turn) {
    decoder->Truncate(0, 0);
    const int64_t begin_us = SystemClock().MonotonicUs();
    RETURN_IF_ERROR(decoder->Decode(prompt));
    const int64_t middle_us = SystemClock().MonotonicUs();
    for (uint32_t i = 0; i < kAnswerTokens; ++i) {
      const Row row = {
          .token = static_cast<Token>(Likeliest(decoder->Logits(i == 0 ? kPromptTokens - 1 : 0))),
          .position = kPromptTokens + i,
          .slot = 0,
          .wants_logits = true};
      RETURN_IF_ERROR(decoder->Decode({&row, 1}));
    }
    const int64_t end_us = SystemClock().MonotonicUs();
    best.prompt_tokens_per_s =
        std::max(best.prompt_tokens_per_s, kPromptTokens * 1e6 / (middle_us - begin_us));
    best.answer_tokens_per_s =
        std::max(best.answer_tokens_per_s, kAnswerTokens * 1e6 / (end_us - middle_us));
  }
  return best;
}

absl::StatusOr<Quality> MeasureQuality(const Model& model, const Model* reference,
                                       const std::string& text, const QualityOptions& options,
                                       const std::function<void(double)>& on_progress) {
  if (reference != nullptr && reference->facts().vocabulary != model.facts().vocabulary) {
    return absl::InvalidArgumentError(
        fmt::format("the two models have vocabularies of {} and {} tokens, and cannot be compared",
                    model.facts().vocabulary, reference->facts().vocabulary));
  }
  ASSIGN_OR_RETURN(std::vector<Token> tokens, model.Tokenize(text, /*add_start=*/true, false));
  tokens.resize(std::min<size_t>(tokens.size(), options.max_tokens));
  const size_t chunk_tokens = options.chunk_tokens, chunks = tokens.size() / chunk_tokens;
  if (chunks == 0) {
    return absl::InvalidArgumentError(
        fmt::format("the text has {} tokens, and {} are needed at least; give a longer one",
                    tokens.size(), chunk_tokens));
  }
  ASSIGN_OR_RETURN(const auto reader, Reader::Make(model, options));
  std::unique_ptr<Reader> other;
  if (reference != nullptr) {
    ASSIGN_OR_RETURN(other, Reader::Make(*reference, options));
  }
  Seen seen;
  const size_t first = chunk_tokens / 2;
  for (size_t n = 0; n < chunks; ++n) {
    std::vector<Token> chunk(tokens.begin() + static_cast<ptrdiff_t>(n * chunk_tokens),
                             tokens.begin() + static_cast<ptrdiff_t>((n + 1) * chunk_tokens));
    BeginText(model, &chunk);
    RETURN_IF_ERROR(reader->Read(chunk, first));
    if (other) RETURN_IF_ERROR(other->Read(chunk, first));
    for (size_t i = first; i + 1 < chunk_tokens; ++i) {
      const std::span<const float> logits = reader->Logits(i);
      const auto next = static_cast<size_t>(chunk[i + 1]);
      seen.surprises.push_back(LogSum(logits) - logits[next]);
      if (!other) continue;
      const std::span<const float> theirs = other->Logits(i);
      seen.divergences.push_back(Divergence(theirs, logits));
      seen.same_top += Likeliest(theirs) == Likeliest(logits) ? 1 : 0;
    }
    on_progress(static_cast<double>(n + 1) / static_cast<double>(chunks));
  }
  return seen.Sum();
}

}  // namespace corpgrid::inference
