#pragma once

#include <algorithm>
#include <cstdint>
#include <random>

#include "absl/status/status.h"

namespace corpgrid::agent {

// The agent's one retry policy: waits that double from 0.2 s to at most 5 s, with jitter, so that
// the devices of a grid do not return to a restarted scheduler all at once. One thread.
class Backoff {
 public:
  static constexpr int64_t kMinMs = 200;
  static constexpr int64_t kMaxMs = 5000;

  explicit Backoff(uint64_t seed) : random_(seed) {}

  // How long to wait before the next try; always within [kMinMs, kMaxMs].
  int64_t NextMs() {
    const int64_t from = step_ms_;
    step_ms_ = std::min(2 * step_ms_, kMaxMs / 2);
    return std::uniform_int_distribution<int64_t>(from, std::min(2 * from, kMaxMs))(random_);
  }

  void Reset() { step_ms_ = kMinMs; }

 private:
  std::minstd_rand random_;
  int64_t step_ms_ = kMinMs;
};

// Whether the same call may succeed later without anything being different on our side.
inline bool IsTransient(const absl::Status& status) {
  switch (status.code()) {
    case absl::StatusCode::kUnavailable:
    case absl::StatusCode::kDeadlineExceeded:
    case absl::StatusCode::kUnauthenticated:  // the scheduler restarted: we register again
    case absl::StatusCode::kAborted:
    case absl::StatusCode::kUnknown:
      return true;
    default:
      return false;
  }
}

}  // namespace corpgrid::agent
