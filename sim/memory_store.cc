#include "sim/memory_store.h"

#include <algorithm>
#include <utility>

#include "fmt/format.h"

namespace corpgrid::sim {
namespace {

bool HasEnded(const core::JobProgressRow& row) {
  return row.state != core::JobState::kQueued && row.state != core::JobState::kRunning;
}

absl::Status NotKept() {
  return absl::UnimplementedError("the simulated store keeps no rows for reading but jobs");
}

}  // namespace

MemoryTables::MemoryTables() { meta_.grid_id = "simulated"; }

void MemoryTables::Keep(const core::WriteBatch& batch) {
  // By name, so that a class of rows that is new does not compile until it is kept. Of the audit
  // log nothing is: nobody here reads it, and the checker follows its tree.
  const auto& [meta, join_tokens, devices, reputations, jobs, job_progress, shards, attempts,
               results, checkpoints, forgotten_checkpoints, audit] = batch;
  if (meta) meta_ = *meta;
  for (const auto& row : join_tokens) tokens_[row.secret_hash] = row;
  for (const auto& row : devices) devices_[row.id] = row;
  for (const auto& row : reputations) reputations_[row.device] = row;
  for (const auto& row : jobs) {
    jobs_[row.id].row = row;
    unfinished_.insert(row.id);
  }
  for (const auto& row : results) results_[row.attempt] = row;
  for (const auto& row : attempts) {
    Job& job = jobs_.at(row.shard.job);
    if (!job.attempts.contains(row.id)) job.by_shard[row.shard.index].push_back(row.id);
    job.attempts[row.id] = row;
  }
  for (const auto& row : checkpoints) checkpoints_[{row.shard, row.holder}] = row;
  for (const ShardId& id : forgotten_checkpoints) {
    std::erase_if(checkpoints_, [&](const auto& entry) { return entry.first.first == id; });
  }
  for (const auto& row : shards) Keep(row);
  for (const auto& row : job_progress) Keep(row);
}

void MemoryTables::Keep(const core::ShardRow& row) {
  Job& job = jobs_.at(row.id.job);
  if (row.state == core::ShardState::kRunning) {
    job.running[row.id.index] = row;
  } else {
    Forget(&job, row.id.index);
  }
}

void MemoryTables::Keep(const core::JobProgressRow& row) {
  Job& job = jobs_.at(row.id);
  job.row.progress = row;
  if (!HasEnded(row)) return;
  job.ended = true;
  unfinished_.erase(row.id);
  while (!job.by_shard.empty()) Forget(&job, job.by_shard.begin()->first);
  job.running.clear();
}

void MemoryTables::Forget(Job* job, uint32_t shard) {
  job->running.erase(shard);
  const auto attempts = job->by_shard.find(shard);
  if (attempts == job->by_shard.end()) return;
  for (const AttemptId id : attempts->second) {
    job->attempts.erase(id);
    results_.erase(id);
  }
  job->by_shard.erase(attempts);
}

core::Snapshot MemoryTables::ToSnapshot() const {
  core::Snapshot snapshot;
  snapshot.meta = meta_;
  for (const auto& [key, row] : tokens_) snapshot.join_tokens.push_back(row);
  for (const auto& [id, row] : devices_) snapshot.devices.push_back(row);
  for (const auto& [id, row] : reputations_) snapshot.reputations.push_back(row);
  for (const JobId id : unfinished_) {
    const Job& job = jobs_.at(id);
    snapshot.jobs.push_back(job.row);
    for (const auto& [index, row] : job.running) snapshot.shards.push_back(row);
    for (const auto& [attempt, row] : job.attempts) {
      snapshot.attempts.push_back(row);
      const auto result = results_.find(attempt);
      if (result != results_.end()) snapshot.results.push_back(result->second);
    }
  }
  // A store gives attempts by id, whatever their job.
  const auto by_id = [](const auto& a, const auto& b) { return a.id < b.id; };
  std::sort(snapshot.attempts.begin(), snapshot.attempts.end(), by_id);
  for (const auto& [key, row] : checkpoints_) snapshot.checkpoints.push_back(row);
  for (const auto& [id, job] : jobs_) {
    if (!job.ended) continue;
    snapshot.finished.push_back({job.row.idempotency_key, id, job.row.progress.state});
  }
  return snapshot;
}

const core::JobRow* MemoryTables::Find(JobId id) const {
  const auto it = jobs_.find(id);
  return it == jobs_.end() ? nullptr : &it->second.row;
}

// The store that is open on a MemoryStorage.
class MemoryStore final : public store::Store {
 public:
  explicit MemoryStore(MemoryStorage* storage) : storage_(storage) {}

  absl::StatusOr<core::Snapshot> Load() override { return storage_->Load(); }
  absl::Status Commit(const core::WriteBatch& batch) override { return storage_->Commit(batch); }
  absl::StatusOr<core::JobRow> Job(JobId id) const override {
    const core::JobRow* row = storage_->tables_.Find(id);
    if (!row) return absl::NotFoundError(fmt::format("there is no job {}", id.value));
    return *row;
  }
  absl::StatusOr<std::vector<core::JobRow>> Jobs(JobId, size_t) const override { return NotKept(); }
  absl::StatusOr<std::vector<core::ShardRow>> Shards(JobId, uint32_t, size_t) const override {
    return NotKept();
  }
  absl::StatusOr<std::vector<store::AttemptRecord>> Attempts(JobId, uint32_t,
                                                             uint32_t) const override {
    return NotKept();
  }
  absl::StatusOr<store::AttemptRecord> Attempt(AttemptId) const override { return NotKept(); }
  absl::StatusOr<std::vector<core::AuditRow>> AuditLog(uint64_t, size_t) const override {
    return NotKept();
  }

 private:
  MemoryStorage* const storage_;
};

absl::StatusOr<std::unique_ptr<store::Store>> MemoryStorage::Open() {
  down_ = false;
  return std::make_unique<MemoryStore>(this);
}

absl::StatusOr<core::Snapshot> MemoryStorage::Load() {
  if (down_) return absl::UnavailableError("the power is off");
  if (std::exchange(fail_load_, false)) return absl::UnavailableError("disk I/O error");
  return tables_.ToSnapshot();
}

absl::Status MemoryStorage::Commit(const core::WriteBatch& batch) {
  if (down_) return absl::UnavailableError("the power is off");
  const std::optional<Fault> fault = std::exchange(next_commit_, std::nullopt);
  if (!fault) {
    limbo_.reset();  // This commit has taken its place.
    tables_.Keep(batch);
    return absl::OkStatus();
  }
  switch (*fault) {
    case Fault::kDiskFull:
      return absl::ResourceExhaustedError("database or disk is full");
    case Fault::kSyncError:
      limbo_ = batch;
      return absl::UnavailableError("disk I/O error at a sync");
    case Fault::kCommitOutcomeUnknown:
      limbo_.reset();
      tables_.Keep(batch);
      return absl::UnavailableError("the connection was lost");
    case Fault::kCrashInsideCommit:
      limbo_ = batch;
      down_ = true;
      return absl::UnavailableError("the power is off");
    default:
      return absl::UnavailableError("disk I/O error");
  }
}

void MemoryStorage::Mend() {
  next_commit_.reset();
  fail_load_ = false;
}

void MemoryStorage::Crash(bool torn, bool lost) {
  Mend();
  down_ = true;
  // What was written whole is there, unless the power failed before it was synced.
  const bool lands = limbo_ && !torn && (!lost || random_.Below(2) == 0);
  if (lands) tables_.Keep(*limbo_);
  limbo_.reset();
}

}  // namespace corpgrid::sim
