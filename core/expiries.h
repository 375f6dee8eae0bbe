#pragma once

#include <cstdint>
#include <map>
#include <vector>

namespace corpgrid::core {

inline constexpr int64_t kExpiryStepMs = 128;

// When to look whether something has run out, a lease or the time in which a device should have
// been heard: at the end of a step of kExpiryStepMs, never too early. What was extended or has
// ended since is found so when its time comes.
template <typename Id>
class Expiries {
 public:
  void Add(int64_t expires_ms, Id id) { steps_[StepOf(expires_ms)].push_back(id); }

  // Those whose look is due, step by step in the order in which they were added.
  std::vector<Id> TakeDue(int64_t now_ms) {
    std::vector<Id> due;
    while (!steps_.empty() && steps_.begin()->first * kExpiryStepMs <= now_ms) {
      std::vector<Id>& step = steps_.begin()->second;
      due.insert(due.end(), step.begin(), step.end());
      steps_.erase(steps_.begin());
    }
    return due;
  }

 private:
  static int64_t StepOf(int64_t ms) { return (ms + kExpiryStepMs - 1) / kExpiryStepMs; }

  std::map<int64_t, std::vector<Id>> steps_;
};

}  // namespace corpgrid::core
