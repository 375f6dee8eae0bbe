#include "scheduler/staging.h"

#include <set>

#include "base/status_macros.h"
#include "scheduler/grants.h"
#include "spdlog/spdlog.h"

namespace corpgrid::scheduler {

Staging::Staging(objects::ObjectStore* objects) : objects_(objects), thread_([this] { Run(); }) {}

Staging::~Staging() {
  {
    absl::MutexLock lock(&mutex_);
    stopping_ = true;
  }
  thread_.join();
}

void Staging::Keep(std::string scope, std::string owner) {
  absl::MutexLock lock(&mutex_);
  keep_.emplace_back(std::move(scope), std::move(owner));
}

void Staging::Drop(std::string scope) {
  absl::MutexLock lock(&mutex_);
  drop_.push_back(std::move(scope));
}

void Staging::Release(std::string owner) {
  absl::MutexLock lock(&mutex_);
  release_.push_back(std::move(owner));
}

absl::Status Staging::Flush() {
  absl::MutexLock lock(&mutex_);
  const auto idle = [this]() ABSL_SHARED_LOCKS_REQUIRED(mutex_) {
    return keep_.empty() && drop_.empty() && release_.empty() && !busy_;
  };
  mutex_.Await(absl::Condition(&idle));
  return std::exchange(last_error_, absl::OkStatus());
}

void Staging::Run() {
  absl::MutexLock lock(&mutex_);
  while (true) {
    const auto work = [this]() ABSL_SHARED_LOCKS_REQUIRED(mutex_) {
      return stopping_ || !keep_.empty() || !drop_.empty() || !release_.empty();
    };
    mutex_.Await(absl::Condition(&work));
    if (keep_.empty() && drop_.empty() && (stopping_ || release_.empty())) return;
    const auto keep = std::exchange(keep_, {});
    const auto drop = std::exchange(drop_, {});
    // Taken together with what was asked for before it: that is done first.
    const std::string owner = release_.empty() ? "" : release_.front();
    busy_ = true;
    mutex_.Unlock();
    absl::Status status = objects_->Keep(keep);
    status.Update(objects_->Drop(drop));
    absl::StatusOr<bool> more = false;
    if (!owner.empty()) more = objects_->ReleaseSome(owner);
    status.Update(more.status());
    mutex_.Lock();
    busy_ = false;
    if (!owner.empty() && !more.value_or(false)) release_.pop_front();
    if (status.ok()) continue;
    // Nothing is lost: scopes and owners stay until the next start settles them.
    spdlog::warn("settling staged outputs failed: {}", status.ToString());
    last_error_ = status;
  }
}

absl::Status ReconcileStaging(objects::ObjectStore* objects, const store::Store& store,
                              const core::Grid& grid) {
  const std::set<AttemptId> with_state = grid.AttemptsWithState();
  ASSIGN_OR_RETURN(const std::vector<std::string> scopes, objects->Scopes());
  std::vector<std::pair<std::string, std::string>> keep;
  std::vector<std::string> drop;
  for (const std::string& scope : scopes) {
    const AttemptId saver = AttemptOfStateScope(scope);
    if (saver && !with_state.contains(saver) && !grid.HasLive(saver)) drop.push_back(scope);
    const AttemptId id = AttemptOfScope(scope);
    if (!id || grid.HasLive(id)) continue;
    const absl::StatusOr<store::AttemptRecord> record = store.Attempt(id);
    if (!record.ok() && !absl::IsNotFound(record.status())) return record.status();
    bool is_kept = record.ok() && record->attempt.state == core::AttemptState::kUndecided;
    if (record.ok() && record->attempt.state == core::AttemptState::kAgreed) {
      const ShardId shard = record->attempt.shard;
      ASSIGN_OR_RETURN(const auto rows, store.Shards(shard.job, shard.index, 1));
      is_kept = !rows.empty() && rows[0].id == shard && rows[0].winner == id;
    }
    if (is_kept) {
      keep.emplace_back(scope, JobOwner(record->attempt.shard.job));
    } else {
      drop.push_back(scope);
    }
  }
  RETURN_IF_ERROR(objects->Keep(keep));
  RETURN_IF_ERROR(objects->Drop(drop));
  ASSIGN_OR_RETURN(const std::vector<std::string> owners, objects->Owners());
  for (const std::string& owner : owners) {
    const JobId job = JobOfOwner(owner);
    if (!job) continue;
    const absl::Status there = store.Job(job).status();
    if (there.ok()) continue;
    if (!absl::IsNotFound(there)) return there;
    RETURN_IF_ERROR(objects->Release(owner));
  }
  return absl::OkStatus();
}

}  // namespace corpgrid::scheduler
