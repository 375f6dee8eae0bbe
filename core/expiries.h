#pragma once

#include <cstdint>
#include <map>
#include <vector>

#include "base/ids.h"

namespace corpgrid::core {

// When to look whether leases have run out: at the end of a step of kStepMs, never too early. A
// lease that was extended or has ended since is found so when its time comes.
class Expiries {
 public:
  static constexpr int64_t kStepMs = 128;

  void Add(int64_t expires_ms, AttemptId attempt) { steps_[StepOf(expires_ms)].push_back(attempt); }

  // The attempts whose look is due, step by step in the order in which they were added.
  std::vector<AttemptId> TakeDue(int64_t now_ms) {
    std::vector<AttemptId> due;
    while (!steps_.empty() && steps_.begin()->first * kStepMs <= now_ms) {
      std::vector<AttemptId>& step = steps_.begin()->second;
      due.insert(due.end(), step.begin(), step.end());
      steps_.erase(steps_.begin());
    }
    return due;
  }

 private:
  static int64_t StepOf(int64_t ms) { return (ms + kStepMs - 1) / kStepMs; }

  std::map<int64_t, std::vector<AttemptId>> steps_;
};

}  // namespace corpgrid::core
