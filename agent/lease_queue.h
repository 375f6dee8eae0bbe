#pragma once

#include <cstdint>
#include <deque>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "agent/attempt.h"
#include "base/clock.h"

namespace corpgrid::agent {

// Every attempt that this agent holds, from the lease to the verdict: queued, running or finished.
// Decides how many more to ask for. Any thread.
class LeaseQueue {
 public:
  static constexpr uint32_t kMaxPrefetch = 64;
  // Finished attempts that nobody has judged yet; more of them and no new shards are asked for.
  static constexpr uint32_t kMaxUnjudged = 256;
  static constexpr uint64_t kMaxUnjudgedBytes = 1 << 30;  // of their outputs, on our disk

  LeaseQueue(uint32_t slots, const Clock* clock) : slots_(slots), clock_(clock) {}

  struct Wanted {
    uint32_t shards = 0;  // 0 after Close()
    bool idle = false;    // nothing is held, and the next shards may be of any length
  };
  // Waits until shards are wanted.
  Wanted WaitForDemand();

  // The ids of all that is held.
  std::vector<uint64_t> HeldIds() const;

  // Queues the leases of a reply but those that are held already. Returns the number of new ones.
  // When nothing came and nothing is held, how long shards run is to be learned anew.
  size_t Add(const corpgrid::v1::PollJobsResponse& reply);

  // The next attempt to run, of `preferred` where one is queued and nothing else has waited long.
  // Nothing when `idle_ms` passed without one, or after Close().
  std::optional<Attempt> Take(JobId preferred, int64_t idle_ms);

  // Holds an attempt that is finished already, from before a restart of the agent.
  void Adopt(AttemptId id, uint64_t output_bytes);

  // The attempt that was taken ended after `run_us` and waits, with its outputs, for its verdict.
  void Finished(AttemptId id, int64_t run_us, uint64_t output_bytes = 0);

  // The attempt that was taken is to be handed back; it says nothing about how long shards run.
  void GivenBack(AttemptId id);

  // Takes the attempt, or all, out of what waits to run, to be handed back. They stay held until
  // their verdict.
  std::optional<Attempt> TakeQueued(AttemptId id);
  std::vector<Attempt> TakeAllQueued();

  // Holds the attempt no longer: its verdict is known, or it was cancelled.
  void Forget(AttemptId id);

  enum class State : uint8_t { kUnknown, kQueued, kRunning, kFinished };
  // The scheduler wants the attempt no longer: forgets it unless it is running, in which case
  // whoever runs it must end it. Returns the state that it was in.
  State Stop(AttemptId id);

  // Ends every wait; nothing is handed out any more.
  void Close();

 private:
  struct Held {
    State state = State::kQueued;
    uint64_t output_bytes = 0;
  };
  struct Queued {
    Attempt attempt;
    int64_t since_ms;
  };

  // The queued shards to aim at: about one second of work. None while it is not known how long
  // shards run: what waits here cannot be started by a device that has nothing to do.
  uint32_t Prefetch() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  uint32_t Demand() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void End(AttemptId id, uint64_t output_bytes) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Erase(AttemptId id) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  std::deque<Queued>::iterator Next(JobId preferred) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const uint32_t slots_;
  const Clock* const clock_;
  mutable absl::Mutex mutex_;
  absl::CondVar work_;    // something was queued
  absl::CondVar demand_;  // more may be wanted
  std::deque<Queued> queue_ ABSL_GUARDED_BY(mutex_);
  std::unordered_map<AttemptId, Held> held_ ABSL_GUARDED_BY(mutex_);
  uint64_t unjudged_bytes_ ABSL_GUARDED_BY(mutex_) = 0;
  uint32_t running_ ABSL_GUARDED_BY(mutex_) = 0;
  double mean_run_us_ ABSL_GUARDED_BY(mutex_) = 0;  // 0: no shard has run yet
  bool closed_ ABSL_GUARDED_BY(mutex_) = false;
};

}  // namespace corpgrid::agent
