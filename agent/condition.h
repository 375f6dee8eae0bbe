#pragma once

#include <cstdint>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "agent/hours.h"
#include "base/clock.h"
#include "corpgrid/v1/scheduler.pb.h"

namespace corpgrid::agent {

// How this device is just now: its power, its heat, and whether its owner lends it at this hour.
// Read again when what is known is two seconds old. Any thread.
class ConditionReader {
 public:
  struct Sources {
    std::string power_supply = "/sys/class/power_supply";
    std::string hwmon = "/sys/class/hwmon";
    Hours hours;
  };

  // `clock` must outlive the reader.
  ConditionReader(Sources sources, const Clock* clock);

  corpgrid::v1::Condition Now();

 private:
  const Sources sources_;
  const Clock* const clock_;
  absl::Mutex mutex_;
  corpgrid::v1::Condition condition_ ABSL_GUARDED_BY(mutex_);
  int64_t read_ms_ ABSL_GUARDED_BY(mutex_) = 0;
};

}  // namespace corpgrid::agent
