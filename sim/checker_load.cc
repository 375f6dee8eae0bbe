// What comes back from the store: all that reached it, and nothing else.

#include <algorithm>
#include <utility>

#include "fmt/format.h"
#include "sim/checker.h"

namespace corpgrid::sim {

void Checker::CannotLoad(const absl::Status& status) {
  if (absl::IsUnavailable(status) || absl::IsResourceExhausted(status)) return;  // It may pass.
  Fail(fmt::format("the state cannot be read: {}", status.ToString()));
}

// Commits that failed one after the other have the same number, as none of them was known to land.
bool Checker::IsLast(const core::WriteBatch& batch, const core::Snapshot& snapshot) {
  const core::MetaRow& meta = snapshot.meta;
  if (!batch.meta || batch.meta->batch != meta.batch || batch.meta->time_ms != meta.time_ms ||
      batch.meta->next_device != meta.next_device || batch.meta->next_job != meta.next_job ||
      batch.meta->next_attempt != meta.next_attempt ||
      batch.meta->audit_frontier != meta.audit_frontier) {
    return false;
  }
  std::unordered_map<AttemptId, core::AttemptState> live;
  for (const core::AttemptRow& row : snapshot.attempts) {
    if (IsLive(row.state)) live[row.id] = row.state;
  }
  return std::all_of(batch.attempts.begin(), batch.attempts.end(), [&](const auto& row) {
    const auto it = live.find(row.id);
    return IsLive(row.state) ? it != live.end() && it->second == row.state : it == live.end();
  });
}

void Checker::LoadedUnknown(const core::Snapshot& snapshot) {
  const auto landed =
      std::find_if(unknown_.rbegin(), unknown_.rend(),
                   [&](const UnknownCommit& commit) { return IsLast(commit.batch, snapshot); });
  if (landed == unknown_.rend()) return;
  const UnknownCommit commit = std::move(*landed);
  unknown_requests_ = commit.requests;
  resurrecting_ = true;
  Landed(commit.batch);
  resurrecting_ = false;
}

void Checker::Loaded(const core::Snapshot& snapshot) {
  if (snapshot.meta.batch == meta_.batch + 1) LoadedUnknown(snapshot);
  if (snapshot.meta.batch != meta_.batch) {
    Fail(fmt::format("the store is at batch {}, not {}", snapshot.meta.batch, meta_.batch));
    return;
  }
  size_t live = 0;
  for (const core::AttemptRow& row : snapshot.attempts) {
    const auto it = attempts_.find(row.id);
    if (!IsLive(row.state)) continue;
    ++live;
    if (it == attempts_.end() || it->second.state != row.state || it->second.device != row.device ||
        it->second.token != row.lease_token) {
      Fail(fmt::format("attempt {} came back as another one", row.id.value));
    }
  }
  if (live != live_attempts_) {
    Fail(fmt::format("{} live attempts came back, not {}", live, live_attempts_));
  }
  for (const core::ShardRow& row : snapshot.shards) {
    const auto job = jobs_.find(row.id.job);
    if (job == jobs_.end() || !job->second.shards.contains(row.id.index) ||
        job->second.shards.at(row.id.index).tries != row.tries ||
        job->second.shards.at(row.id.index).audit != row.audit) {
      Fail(fmt::format("shard {} of job {} came back otherwise", row.id.index, row.id.job.value));
    }
  }
  if (snapshot.jobs.size() != unfinished_jobs_ ||
      snapshot.jobs.size() + snapshot.finished.size() != jobs_.size() - gone_jobs_) {
    Fail(fmt::format("{} unfinished of {} jobs came back, not {} of {}", snapshot.jobs.size(),
                     snapshot.jobs.size() + snapshot.finished.size(), unfinished_jobs_,
                     jobs_.size() - gone_jobs_));
  }
  for (const core::JobRow& row : snapshot.jobs) {
    const auto job = jobs_.find(row.id);
    if (job == jobs_.end() || job->second.state != row.progress.state ||
        job->second.done != row.progress.done ||
        job->second.next_shard != row.progress.next_shard) {
      Fail(fmt::format("job {} came back otherwise", row.id.value));
    }
  }
  LoadedProjects(snapshot);
  for (const core::DeviceRow& row : snapshot.devices) {
    const auto device = devices_.find(row.id);
    if (device == devices_.end() || device->second.row.public_key != row.public_key ||
        device->second.row.owner != row.owner) {
      Fail(fmt::format("device {} came back otherwise", row.id.value));
    }
  }
}

void Checker::Reloaded(const core::Grid& grid) {
  ++loads_;
  applied_ = nullptr;
  const int64_t time_ms = grid.meta().time_ms;
  if (time_ms < meta_.time_ms) {
    Fail(fmt::format("grid time went from {} to {} over a restart", meta_.time_ms, time_ms));
  }
  if (grid.meta().next_attempt < meta_.next_attempt || grid.meta().next_job < meta_.next_job ||
      grid.meta().next_device < meta_.next_device) {
    Fail("numbers that were given out are going to be given out again after a restart");
  }
  applied_ms_ = time_ms;
  size_t live = 0;
  for (const core::Lease& lease : grid.LiveLeases()) {
    ++live;
    const auto it = attempts_.find(lease.attempt);
    if (it != attempts_.end()) {
      it->second.start_ms = it->second.heard_ms = time_ms;
      if (it->second.saved && !lease.checkpoint) {
        Fail(fmt::format("attempt {} lost its checkpoint over a restart", lease.attempt.value));
      }
    }
    if (it == attempts_.end() || it->second.token != lease.token ||
        it->second.device != lease.device || it->second.shard != lease.shard) {
      Fail(fmt::format("the lease of attempt {} is another one after a restart",
                       lease.attempt.value));
    }
  }
  if (live != live_attempts_) {
    Fail(fmt::format("{} leases are live after a restart, not {}", live, live_attempts_));
  }
  std::erase_if(devices_, [](const auto& entry) { return !entry.second.row.id; });
  for (auto& [id, device] : devices_) {
    device.applied = device.row;
    device.contact_ms = time_ms;
  }
  ReloadedProjects();
}

}  // namespace corpgrid::sim
