#pragma once

#include <algorithm>
#include <cstdint>
#include <random>

namespace corpgrid {

// The one retry policy: waits that double from 0.1 s to at most 2 s, with jitter, so that the
// devices of a grid do not return to a restarted scheduler all at once. One thread.
class Backoff {
 public:
  static constexpr int64_t kMinMs = 100;
  static constexpr int64_t kMaxMs = 2000;

  explicit Backoff(uint64_t seed) : random_(seed) {}

  // How long to wait before the next try; always within [kMinMs, kMaxMs].
  int64_t NextMs() {
    const int64_t from = step_ms_;
    step_ms_ = std::min(2 * step_ms_, kMaxMs / 2);
    return std::uniform_int_distribution<int64_t>(from, 2 * from)(random_);
  }

  void Reset() { step_ms_ = kMinMs; }

 private:
  std::minstd_rand random_;
  int64_t step_ms_ = kMinMs;
};

}  // namespace corpgrid
