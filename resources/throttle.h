#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <set>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "base/clock.h"

namespace corpgrid::resources {

// Percent of a device that is busy; nothing where nobody tells.
using LoadFunction = std::function<std::optional<uint32_t>()>;

// Spaces out what begins: so many a second, at even distances, in the order in which they ask, and
// fewer while the device is busy. It only says when; who asked waits, however it likes. So no lock
// is held while somebody waits, and two can never have the same slot. Any thread.
class Throttle {
 public:
  struct Options {
    double per_second = 0;        // 0: no limit
    uint32_t load_percent = 100;  // above it fewer: a tenth when the device is busy all the time
    LoadFunction load;            // empty: as if never busy
    const Clock* clock = nullptr;
  };

  explicit Throttle(Options options) : options_(std::move(options)) {}

  struct Slot {
    int64_t begins_us = 0;  // on the clock
    int64_t wait_us = 0;    // from when it was reserved
  };

  // The next free one.
  Slot Reserve();
  // It is not used: who asks next gets it, unless it is over by then.
  void GiveBack(const Slot& slot);

 private:
  // Between two slots, at this load.
  int64_t DistanceUs() const;

  const Options options_;
  absl::Mutex mutex_;
  int64_t next_us_ ABSL_GUARDED_BY(mutex_) = 0;  // the first that nobody has had yet
  std::set<int64_t> returned_ ABSL_GUARDED_BY(mutex_);
};

// A value that is asked for at most four times a second: to ask a driver takes milliseconds, and
// what it tells is itself an average of a while. Any thread.
class CachedLoad {
 public:
  CachedLoad(LoadFunction read, const Clock* clock) : read_(std::move(read)), clock_(clock) {}

  std::optional<uint32_t> Percent();

 private:
  static constexpr int64_t kKeptMs = 250;

  const LoadFunction read_;
  const Clock* const clock_;
  absl::Mutex mutex_;
  std::optional<uint32_t> percent_ ABSL_GUARDED_BY(mutex_);
  std::optional<int64_t> read_ms_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace corpgrid::resources
