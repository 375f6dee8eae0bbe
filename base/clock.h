#pragma once

#include <cstdint>

namespace corpgrid {

// Where time comes from. Everything that waits or stamps takes one, so that tests can move it.
class Clock {
 public:
  virtual ~Clock() = default;

  // Milliseconds that never go back and never jump; the zero is arbitrary. Any thread.
  virtual int64_t MonotonicMs() const = 0;

  // The same in microseconds, where the clock is that fine. Any thread.
  virtual int64_t MonotonicUs() const { return MonotonicMs() * 1000; }

  // Milliseconds since 1970 as the machine believes them; only for what people read. Any thread.
  virtual int64_t WallMs() const = 0;
};

// The machine's clocks. Lives as long as the program. Any thread.
const Clock& SystemClock();

}  // namespace corpgrid
