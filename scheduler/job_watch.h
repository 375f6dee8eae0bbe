#pragma once

#include <cstdint>
#include <unordered_map>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "base/ids.h"

namespace corpgrid::scheduler {

// Lets calls wait until a job changed. Any thread.
class JobWatch {
 public:
  void Changed(JobId job) {
    absl::MutexLock lock(&mutex_);
    if (const auto it = versions_.find(job); it != versions_.end()) ++it->second.version;
  }

  // Waits until `job` changed or `timeout_ms` passed.
  void Wait(JobId job, int64_t timeout_ms) {
    absl::MutexLock lock(&mutex_);
    Entry& entry = versions_[job];
    ++entry.watchers;
    const uint64_t seen = entry.version;
    const auto changed = [&]() ABSL_SHARED_LOCKS_REQUIRED(mutex_) {
      return versions_.at(job).version != seen;
    };
    mutex_.AwaitWithTimeout(absl::Condition(&changed), absl::Milliseconds(timeout_ms));
    if (--versions_.at(job).watchers == 0) versions_.erase(job);
  }

 private:
  struct Entry {
    uint64_t version = 0;
    int watchers = 0;
  };

  absl::Mutex mutex_;
  std::unordered_map<JobId, Entry> versions_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace corpgrid::scheduler
