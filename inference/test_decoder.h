#pragma once

#include <algorithm>
#include <limits>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "base/check.h"
#include "base/clock.h"
#include "inference/decoder.h"
#include "inference/request.h"
#include "inference/token_filter.h"

namespace corpgrid::inference {

// A decoder whose model is a hash: the logits of a token are a function of it and of all that came
// before it in its slot. So an answer is right only if every slot held exactly what it should. Ends
// the program where a caller breaks Decoder's contract.
class TestDecoder : public Decoder {
 public:
  static constexpr uint32_t kVocabulary = 50;
  static constexpr Token kEnd = 49;

  explicit TestDecoder(KvShape shape) : shape_(shape), slots_(shape.slots) {}

  const KvShape& shape() const override { return shape_; }
  uint32_t vocabulary_size() const override { return kVocabulary; }

  absl::Status Decode(std::span<const Row> rows) override {
    batches.emplace_back(rows.begin(), rows.end());
    if (!next_error.ok()) return std::exchange(next_error, absl::OkStatus());
    size_t held = rows.size();
    for (const auto& slot : slots_) held += slot.size();
    if (held > true_cells) return absl::ResourceExhaustedError("no cell");
    logits_.clear();
    uint32_t slot = 0;
    for (size_t i = 0; i < rows.size(); ++i) {
      const Row& row = rows[i];
      CHECK_INVARIANT(row.slot >= slot && row.slot < slots_.size());
      slot = row.slot;
      CHECK_INVARIANT(row.position == slots_[slot].size());
      slots_[slot].push_back(row.token);
      CHECK_INVARIANT(slots_[slot].size() <= shape_.cells_per_slot());
      if (row.wants_logits) logits_[i] = LogitsAfter(slots_[slot]);
    }
    computed += rows.size();
    return absl::OkStatus();
  }

  std::span<const float> Logits(size_t row) override { return logits_.at(row); }

  void CopyPrefix(uint32_t from, uint32_t to, uint32_t length) override {
    CHECK_INVARIANT(shape_.reuses_prefixes && from != to && slots_[to].empty() &&
                    length <= slots_[from].size());
    slots_[to].assign(slots_[from].begin(), slots_[from].begin() + length);
    ++copies;
  }

  void Truncate(uint32_t slot, uint32_t length) override {
    CHECK_INVARIANT(length == 0 || shape_.reuses_prefixes);
    slots_[slot].resize(std::min<size_t>(length, slots_[slot].size()));
  }

  void SetThreads(uint32_t) override {}

  static std::vector<float> LogitsAfter(const std::vector<Token>& tokens) {
    uint64_t hash = 14695981039346656037u;
    for (const Token token : tokens) hash = (hash ^ static_cast<uint64_t>(token)) * 1099511628211u;
    std::vector<float> logits(kVocabulary);
    for (float& logit : logits) {
      hash = hash * 6364136223846793005u + 1442695040888963407u;
      logit = static_cast<float>(hash >> 40) / (1 << 22);
    }
    logits[kEnd] -= 2;  // answers of some length
    return logits;
  }

  // What the model answers to `prompt` when it is all alone, always the likeliest token.
  static std::vector<Token> Answer(std::vector<Token> prompt, size_t max_tokens) {
    std::vector<Token> answer;
    while (answer.size() < max_tokens) {
      const std::vector<float> logits = LogitsAfter(prompt);
      const auto token =
          static_cast<Token>(std::max_element(logits.begin(), logits.end()) - logits.begin());
      if (token == kEnd) break;
      answer.push_back(token);
      prompt.push_back(token);
    }
    return answer;
  }

  std::vector<std::vector<Row>> batches;
  absl::Status next_error;
  size_t true_cells = SIZE_MAX;  // it may have fewer than it says
  size_t computed = 0;
  size_t copies = 0;

 private:
  const KvShape shape_;
  std::vector<std::vector<Token>> slots_;
  std::map<size_t, std::vector<float>> logits_;
};

// A machine on which each step takes a second.
class SlowClock final : public Clock {
 public:
  int64_t MonotonicMs() const override { return ++seconds_ * 1000; }
  int64_t WallMs() const override { return 0; }

 private:
  mutable int64_t seconds_ = 0;
};

// Allows the letters of a text in their order, and then the end; "_" is too slow.
class TestFilter final : public TokenFilter {
 public:
  explicit TestFilter(std::string text) : text_(std::move(text)) {}
  bool Allows(Token token) override {
    return token == (at_ < text_.size() ? text_[at_] - 'A' : TestDecoder::kEnd);
  }
  void Mask(std::span<float> logits) override {
    for (size_t i = 0; i < logits.size(); ++i) {
      if (!Allows(static_cast<Token>(i))) logits[i] = -std::numeric_limits<float>::infinity();
    }
  }
  absl::Status Accept(Token token) override {
    CHECK_INVARIANT(Allows(token));
    if (text_[at_++] == '_') return absl::InvalidArgumentError("too slow");
    return absl::OkStatus();
  }
  size_t bytes() const override { return text_.size() << 20; }  // a MiB a letter

 private:
  const std::string text_;
  size_t at_ = 0;
};

// Each token is a letter.
class TestVocabulary : public Vocabulary {
 public:
  absl::StatusOr<std::vector<Token>> Tokenize(std::string_view text, bool, bool) const override {
    std::vector<Token> tokens;
    for (const char letter : text) tokens.push_back((letter - 'A') % TestDecoder::kVocabulary);
    return tokens;
  }
  // A grammar is the one text that may come, "!" none.
  absl::StatusOr<std::unique_ptr<TokenFilter>> MakeFilter(const std::string& grammar,
                                                          bool) const override {
    if (grammar == "!") return absl::InvalidArgumentError("no grammar");
    return std::make_unique<TestFilter>(grammar);
  }
  std::string Piece(Token token, bool) const override {
    return std::string(1, static_cast<char>('A' + token));
  }
  bool IsEnd(Token token) const override { return token == TestDecoder::kEnd; }
};

// Keeps what it hears.
struct TestListener final : Listener {
  void OnDelta(const Delta& delta) override {
    CHECK_INVARIANT(!ends.contains(delta.choice));
    tokens[delta.choice].push_back(delta.token.chosen.token);
    text[delta.choice] += delta.text;
  }
  void OnEnd(const End& end) override {
    CHECK_INVARIANT(ends.emplace(end.choice, end).second);
    text[end.choice] += end.text;
  }

  std::map<uint32_t, std::vector<Token>> tokens;
  std::map<uint32_t, std::string> text;
  std::map<uint32_t, End> ends;
};

}  // namespace corpgrid::inference
