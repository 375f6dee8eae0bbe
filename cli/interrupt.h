#pragma once

#include <atomic>

namespace corpgrid::cli {

// While one lives, the first Ctrl-C (or SIGTERM) sets a flag instead of ending the program; the
// second ends it. One at a time, on the main thread.
class InterruptFlag {
 public:
  InterruptFlag();
  InterruptFlag(const InterruptFlag&) = delete;
  ~InterruptFlag();

  const std::atomic<bool>& raised() const;
};

}  // namespace corpgrid::cli
