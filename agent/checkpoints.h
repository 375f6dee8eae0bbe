#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <thread>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "agent/attempt.h"
#include "agent/scheduler_client.h"
#include "agent/state.h"
#include "agent/stop_signal.h"

namespace corpgrid::agent {

// Sends the states that shards saved, one after the other, on a thread of its own: a slow scheduler
// holds up no shard, and of the states that an attempt saved meanwhile only the newest goes. Any
// thread.
class Checkpoints {
 public:
  // The pointers must outlive it. `abort` ends its waits and calls; the destructor sets it.
  Checkpoints(SchedulerClient* scheduler, StopSignal* abort);
  ~Checkpoints();
  Checkpoints(const Checkpoints&) = delete;
  Checkpoints& operator=(const Checkpoints&) = delete;

  // In place of what waits of this attempt. One that was sent last already is not sent again.
  void Offer(const Attempt& attempt, SavedState state);

  // Waits up to `ms` until nothing of the attempt is left to send.
  void Flush(AttemptId id, int64_t ms);

  // The attempt has ended: nothing more of it is sent.
  void Forget(AttemptId id);

 private:
  struct Sending {
    Attempt attempt;
    std::optional<SavedState> waiting;
    std::optional<crypto::Hash> reported;
    int next_name = 0;  // the one of the two that does not hold what was reported
  };

  void Run();
  absl::Status Send(const Attempt& attempt, const SavedState& state, int name) const;

  SchedulerClient* const scheduler_;
  StopSignal* const abort_;
  absl::Mutex mutex_;
  absl::CondVar changed_;
  std::map<AttemptId, Sending> attempts_ ABSL_GUARDED_BY(mutex_);
  AttemptId busy_ ABSL_GUARDED_BY(mutex_);  // what is being sent
  bool closed_ ABSL_GUARDED_BY(mutex_) = false;
  std::thread thread_;
};

}  // namespace corpgrid::agent
