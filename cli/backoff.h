#pragma once

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <random>
#include <thread>

#include "base/clock.h"

namespace corpgrid::cli {

// How long a command tries to reach a grid that does not answer. A scheduler that died is back
// within seconds; a change that nobody acknowledged is worth more patience than a look.
inline constexpr int64_t kReadPatienceMs = 5'000;
inline constexpr int64_t kChangePatienceMs = 30'000;
inline constexpr int64_t kWatchPatienceMs = 60'000;

// Waits before the next try: 0.1 s, doubling up to 2 s, and up to a quarter more by chance, so that
// many clients do not come back in step. One thread.
class Backoff {
 public:
  explicit Backoff(int64_t patience_ms) : patience_ms_(patience_ms) { Reset(); }

  // False once the patience since the start, or the last Reset, is used up.
  bool Wait() {
    const int64_t left_ms = end_ms_ - SystemClock().MonotonicMs();
    if (left_ms <= 0) return false;
    std::uniform_int_distribution<int64_t> jitter(0, next_ms_ / 4);
    std::this_thread::sleep_for(
        std::chrono::milliseconds(std::min(left_ms, next_ms_ + jitter(random_))));
    next_ms_ = std::min(next_ms_ * 2, kMaxMs);
    return true;
  }

  void Reset() {
    end_ms_ = SystemClock().MonotonicMs() + patience_ms_;
    next_ms_ = kMinMs;
  }

 private:
  static constexpr int64_t kMinMs = 100;
  static constexpr int64_t kMaxMs = 2'000;

  const int64_t patience_ms_;
  int64_t end_ms_ = 0;
  int64_t next_ms_ = kMinMs;
  std::minstd_rand random_{std::random_device()()};
};

}  // namespace corpgrid::cli
