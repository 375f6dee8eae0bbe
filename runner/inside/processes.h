#pragma once

#include <sys/types.h>

#include <cstdint>
#include <vector>

namespace corpgrid::runner::inside {

// The processes of the shard that runs now: all that /proc shows but ourselves and the shard's
// init.
class Processes {
 public:
  // Ends the runner on failure.
  Processes();

  // To each of them. One that is being born may be missed.
  void Signal(pid_t init, int signal) const;

  // Stops all of them, every thread; false when they did not all stand still in time, which takes
  // half a second. Thaw() lets those run again that Freeze() has stopped.
  bool Freeze(pid_t init);
  void Thaw();

  // What they take of the machine's memory: anonymous and shared pages and swap, without what they
  // only read from files, and with pages that several share counted once when that matters, that is
  // when the simple sum is above `limit_bytes`. Shared memory that nobody has mapped is not seen.
  struct Memory {
    uint64_t private_bytes = 0;
    uint64_t shared_bytes = 0;  // files in /work that are mapped, among others
  };
  Memory MemoryOf(pid_t init, uint64_t limit_bytes) const;

 private:
  bool StandsStill(pid_t pid) const;

  int proc_;
  uint64_t page_bytes_;
  std::vector<pid_t> frozen_;  // by us: a shard may have stopped others itself
};

}  // namespace corpgrid::runner::inside
