#pragma once

#include <cstdint>

#include "base/clock.h"

namespace corpgrid::testing {

// Stands still until the test moves it. One thread.
class ManualClock final : public Clock {
 public:
  int64_t MonotonicMs() const override { return now_ms; }
  int64_t WallMs() const override { return now_ms; }

  int64_t now_ms = 1'000'000;
};

}  // namespace corpgrid::testing
