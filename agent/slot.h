#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "agent/begun.h"
#include "agent/capacity.h"
#include "agent/checkpoints.h"
#include "agent/finished.h"
#include "agent/job_cache.h"
#include "agent/journal.h"
#include "agent/lease_queue.h"
#include "agent/scheduler_client.h"
#include "agent/stop_signal.h"
#include "base/clock.h"
#include "resources/resource_manager.h"
#include "runner/session.h"

namespace corpgrid::agent {

using StartSession =
    std::function<absl::StatusOr<std::unique_ptr<runner::Session>>(const runner::SandboxOptions&)>;

// What the slots of an agent share; everything outlives them.
struct SlotContext {
  std::string data_folder;  // has slots/ and spool/
  std::string runner_path;
  LeaseQueue* leases;
  JobCache* jobs;
  Capacity* capacity;
  resources::ResourceManager* resources;
  SchedulerClient* scheduler;
  Checkpoints* checkpoints;
  const Journal* journal;
  Begun* begun;
  std::string grid_id;
  std::function<void(FinishedAttempt)> hand_in;
  StartSession start_session;
  StopSignal* stop;
  const Clock* clock;
};

struct RunningAttempt {
  AttemptId id;
  double progress = -1;  // 0..1, or -1: the job did not say
};

// Runs one shard after the other in a sandbox that stays warm for as long as they are of one job.
class Slot {
 public:
  // A shard that is cancelled has this long between SIGTERM and SIGKILL.
  static constexpr int64_t kGraceMs = 2000;
  // One that is handed back, of a job that saves its state, has longer to write it down.
  static constexpr int64_t kStateGraceMs = 5000;

  Slot(const SlotContext* context, uint32_t index);

  // Takes attempts until the lease queue is closed. The slot's own thread.
  void Run();

  // Ends the attempt if it is here, without a result; returns whether it is. Any thread, again and
  // again if need be.
  bool Cancel(AttemptId id);
  // Ends the attempt if it is here, saves its state if the job does so, and hands it back. As
  // Cancel(), which goes before it.
  bool GiveBack(AttemptId id, const std::string& why);
  // The same with whatever is here.
  void GiveBackCurrent(const std::string& why);

  std::optional<RunningAttempt> Running() const;

 private:
  void Attend(const Attempt& attempt);
  absl::StatusOr<FinishedAttempt> Execute(const Attempt& attempt);
  absl::StatusOr<FinishedAttempt> TryOnce(const Attempt& attempt);
  absl::Status FetchInput(const Attempt& attempt, const job::Input& input) const;
  // The state that the attempt is to go on from; no descriptor: from the beginning.
  absl::StatusOr<UniqueFd> FetchState(const Attempt& attempt, const job::JobSpec& spec) const;
  // Makes `request` begin with the state in `file`, which must stay open.
  static void GoOnFrom(int file, const job::JobSpec& spec, runner::ShardRequest* request);
  // Makes `request` save the shard's state regularly.
  void SaveStates(const Attempt& attempt, const job::JobSpec& spec, runner::ShardRequest* request);
  void PackNow(const job::JobSpec& spec, int work_fd);
  void SaveLastState(const Attempt& attempt, const job::JobSpec& spec);
  absl::Status EnsureSession(std::shared_ptr<const VerifiedJob> job);
  void CloseSession();
  absl::StatusOr<runner::ShardExit> RunShard(const std::shared_ptr<const VerifiedJob>& job,
                                             const runner::ShardRequest& request);
  absl::StatusOr<FinishedAttempt> Finish(const Attempt& attempt, const job::JobSpec& spec,
                                         const runner::ShardExit& exit) const;
  bool Cancelled() const;
  void GiveBackLocked(const std::string& why) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void CancelLocked() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  std::string InputFolder() const { return folder_ + "/input"; }

  const SlotContext* const context_;
  const uint32_t index_;
  const std::string folder_;
  std::shared_ptr<const VerifiedJob> session_job_;
  std::unique_ptr<runner::Session> session_;
  std::optional<SavedState> packed_;  // by the last PackNow()
  std::string state_problem_;         // why the attempt's state was last not saved

  mutable absl::Mutex mutex_;
  AttemptId current_ ABSL_GUARDED_BY(mutex_);
  runner::Session* running_ ABSL_GUARDED_BY(mutex_) = nullptr;  // while a shard runs in it
  std::optional<int64_t> cancelled_at_ms_ ABSL_GUARDED_BY(mutex_);
  std::optional<std::string> give_back_ ABSL_GUARDED_BY(mutex_);  // why, when that ends it
  int64_t give_back_grace_ms_ ABSL_GUARDED_BY(mutex_) = kGraceMs;
};

}  // namespace corpgrid::agent
