#include "inference/text_filter.h"

#include <limits>
#include <utility>

#include "base/status_macros.h"
#include "base/utf8.h"

namespace corpgrid::inference {
namespace {

class TextFilter final : public TokenFilter {
 public:
  TextFilter(std::unique_ptr<TokenFilter> filter, const Fragments* fragments, bool with_control)
      : filter_(std::move(filter)), fragments_(fragments), with_control_(with_control) {}

  bool Allows(Token token) override { return KeepsText(token) && filter_->Allows(token); }

  void Mask(std::span<float> logits) override {
    filter_->Mask(logits);
    const auto mask = [&](Token token) {
      if (!KeepsText(token)) logits[token] = -std::numeric_limits<float>::infinity();
    };
    if (begun_.empty()) {
      for (const auto& [token, bytes] : fragments_->bytes) mask(token);
      for (const Token token : fragments_->control) mask(token);
    } else {
      for (size_t i = 0; i < logits.size(); ++i) mask(static_cast<Token>(i));
    }
  }

  absl::Status Accept(Token token) override {
    RETURN_IF_ERROR(filter_->Accept(token));
    const auto fragment = fragments_->bytes.find(token);
    const std::string text = fragment == fragments_->bytes.end() ? "" : begun_ + fragment->second;
    begun_ = Unfinished(text).value_or("");
    return absl::OkStatus();
  }

  size_t bytes() const override { return filter_->bytes(); }

 private:
  bool KeepsText(Token token) const {
    if (!with_control_ && fragments_->control.contains(token)) return false;
    const auto fragment = fragments_->bytes.find(token);
    if (fragment == fragments_->bytes.end()) return begun_.empty();
    return Unfinished(begun_ + fragment->second).has_value();
  }

  const std::unique_ptr<TokenFilter> filter_;
  const Fragments* const fragments_;
  const bool with_control_;
  std::string begun_;  // bytes of a character that is not whole yet
};

}  // namespace

Fragments FragmentsOf(const Vocabulary& vocabulary, uint32_t size) {
  Fragments fragments;
  for (Token token = 0; token < static_cast<Token>(size); ++token) {
    std::string piece = vocabulary.Piece(token, /*control=*/false);
    if (piece.empty()) {
      if (!vocabulary.IsEnd(token)) fragments.control.insert(token);
    } else if (Unfinished(piece) != "") {
      fragments.bytes.emplace(token, std::move(piece));
    }
  }
  return fragments;
}

std::unique_ptr<TokenFilter> KeepText(std::unique_ptr<TokenFilter> filter,
                                      const Fragments* fragments, bool with_control) {
  return std::make_unique<TextFilter>(std::move(filter), fragments, with_control);
}

}  // namespace corpgrid::inference
