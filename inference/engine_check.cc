// What the engine asks of a request before it takes it.
#include <algorithm>
#include <utility>

#include "base/cpu_time.h"
#include "base/status_macros.h"
#include "fmt/format.h"
#include "inference/engine.h"

namespace corpgrid::inference {

// Of processor time, for all who wait meanwhile. The largest usual ones take some milliseconds.
constexpr int64_t kMostGrammarUs = 200'000;

absl::StatusOr<Engine::Checked> Engine::Check(Request request) const {
  RETURN_IF_ERROR(request.sampling.Check(decoder_->vocabulary_size()));
  const uint32_t room = std::min(shape_.cells_per_slot(), shape_.max_sequence);
  if (request.prompt.empty()) return absl::InvalidArgumentError("the prompt has no tokens");
  if (request.prompt.size() >= room) {
    return absl::InvalidArgumentError(
        fmt::format("the prompt has {} tokens and the answer needs at least one; this model is "
                    "loaded with a context of {} tokens",
                    request.prompt.size(), room));
  }
  for (const Token token : request.prompt) {
    if (token >= 0 && static_cast<uint32_t>(token) < decoder_->vocabulary_size()) continue;
    return absl::InvalidArgumentError(
        fmt::format("the prompt has the token {}; this model's tokens are 0 to {}", token,
                    decoder_->vocabulary_size() - 1));
  }
  if (request.choices == 0 || request.choices > Request::kMaxChoices) {
    return absl::InvalidArgumentError(fmt::format("{} choices are asked for; 1 to {} are allowed",
                                                  request.choices, Request::kMaxChoices));
  }
  if (request.stop.size() > Request::kMaxStops) {
    return absl::InvalidArgumentError(fmt::format("{} stop strings are given; at most {} allowed",
                                                  request.stop.size(), Request::kMaxStops));
  }
  if (!request.grammar.empty() && request.ignore_end) {
    return absl::InvalidArgumentError("a grammar says where an answer ends: leave ignore_end out");
  }
  for (const std::string& stop : request.stop) {
    if (stop.size() <= Request::kMaxStopBytes) continue;
    return absl::InvalidArgumentError(fmt::format("a stop string has {} bytes; at most {} allowed",
                                                  stop.size(), Request::kMaxStopBytes));
  }
  Checked checked;
  if (!request.grammar.empty()) {
    // Only to see whether it is one, and how long the engine will be at it: what waits holds its
    // text.
    const int64_t began_us = ThreadCpuUs();
    ASSIGN_OR_RETURN(const std::unique_ptr<TokenFilter> filter,
                     vocabulary_->MakeFilter(request.grammar, request.show_control));
    if (ThreadCpuUs() - began_us > kMostGrammarUs) {
      return absl::InvalidArgumentError(
          "the grammar or schema takes too long to read: it is large and begins in many ways");
    }
    checked.filter_bytes = filter->bytes();
  }
  const size_t bytes = request.prompt.size() * sizeof(Token) + request.grammar.size();
  const auto give_back = [held = held_bytes_, bytes](const Request* done) {
    delete done;
    *held -= bytes;
  };
  const size_t held = *held_bytes_ += bytes;
  checked.request = {new Request(std::move(request)), give_back};
  if (held <= kMaxHeldBytes) return checked;
  return absl::ResourceExhaustedError(
      fmt::format("the prompts and grammars of this model's requests take {} MiB already; try "
                  "again later",
                  (held - bytes) >> 20));
}

}  // namespace corpgrid::inference
