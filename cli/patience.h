#pragma once

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <random>
#include <thread>

#include "base/backoff.h"
#include "base/clock.h"

namespace corpgrid::cli {

// How long a command tries to reach a grid that does not answer. A scheduler that died is back
// within seconds; a change that nobody acknowledged is worth more patience than a look.
inline constexpr int64_t kReadPatienceMs = 5'000;
inline constexpr int64_t kChangePatienceMs = 30'000;
inline constexpr int64_t kWatchPatienceMs = 60'000;

// Waits between the tries of a call until they have lasted too long. One thread.
class Patience {
 public:
  explicit Patience(int64_t patience_ms)
      : patience_ms_(patience_ms), backoff_(std::random_device()()) {
    Reset();
  }

  // Waits before the next try. False once the patience since the start, or the last Reset, is used
  // up.
  bool Wait() {
    const int64_t left_ms = end_ms_ - SystemClock().MonotonicMs();
    if (left_ms <= 0) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(std::min(left_ms, backoff_.NextMs())));
    return true;
  }

  void Reset() {
    end_ms_ = SystemClock().MonotonicMs() + patience_ms_;
    backoff_.Reset();
  }

 private:
  const int64_t patience_ms_;
  int64_t end_ms_ = 0;
  Backoff backoff_;
};

}  // namespace corpgrid::cli
