// What goes from the store and the object store, and what has to stay.

#include <algorithm>

#include "fmt/format.h"
#include "sim/checker.h"

namespace corpgrid::sim {

bool Checker::IsRemoved(JobId job) const {
  const auto it = jobs_.find(job);
  return it != jobs_.end() && it->second.removed;
}

// Whether `id` is what `job` was made as, perhaps before it was removed and submitted anew.
bool Checker::IsOneOf(const JobTruth& job, JobId id) const {
  const auto it = jobs_.find(id);
  return it != jobs_.end() && TruthOf(it->second).key == job.key;
}

bool Checker::WasRemoved(const JobTruth& job) const { return removed_keys_.contains(job.key); }

void Checker::LandedRemovals(const core::WriteBatch& batch) {
  for (const core::JobProgressRow& row : batch.job_progress) {
    const auto job = jobs_.find(row.id);
    if (row.state != core::JobState::kRemoved || job == jobs_.end()) continue;
    LandedRemoval(row, &job->second);
  }
}

void Checker::LandedRemoval(const core::JobProgressRow& row, JobFact* job) {
  if (!job->removed) {
    const bool old =
        config_.keep_jobs_ms > 0 && meta_.time_ms - job->finished_ms >= config_.keep_jobs_ms;
    if (!HasEnded(job->state)) Fail(fmt::format("job {} was removed while it ran", row.id.value));
    if (!old && !asked_for_removal_.contains(row.id)) {
      Fail(fmt::format("job {} was removed before its time", row.id.value));
    }
    job->removed = true;
    job->rows_left = job->next_shard;
    removed_keys_.insert(TruthOf(*job).key);
  }
  if (row.next_shard > job->rows_left) {
    Fail(fmt::format("removed job {} got shards again", row.id.value));
  }
}

void Checker::LandedDeletions(const core::WriteBatch& batch) {
  for (const core::ShardRange& range : batch.forgotten_shards) {
    const auto job = jobs_.find(range.job);
    if (job == jobs_.end() || !job->second.removed || range.last + 1 != job->second.rows_left ||
        range.first > range.last) {
      Fail(fmt::format("shards of job {} were deleted that had to stay", range.job.value));
      return;
    }
    if (range.last - range.first >= core::Grid::kShardsRemovedATick) {
      Fail(fmt::format("too many shards of job {} were deleted at once", range.job.value));
    }
    job->second.rows_left = range.first;
  }
  for (const JobId id : batch.forgotten_jobs) {
    const auto job = jobs_.find(id);
    if (job == jobs_.end() || !job->second.removed || job->second.rows_left > 0 ||
        job->second.gone) {
      Fail(fmt::format("the row of job {} was deleted before the rest", id.value));
      return;
    }
    job->second.gone = true;
    ++gone_jobs_;
  }
}

void Checker::Deleted(JobId owner) {
  if (!IsRemoved(owner)) {
    Fail(fmt::format("the objects of job {} were deleted, but it is not removed", owner.value));
  }
}

bool Checker::AllGone(const std::set<JobId>& owners) const {
  const bool rows = std::all_of(jobs_.begin(), jobs_.end(), [&](const auto& entry) {
    const JobFact& job = entry.second;
    if (job.removed) return job.gone;
    return !HasEnded(job.state) || config_.keep_jobs_ms == 0 ||
           meta_.time_ms - job.finished_ms < config_.keep_jobs_ms;
  });
  return rows &&
         std::none_of(owners.begin(), owners.end(), [&](JobId id) { return IsRemoved(id); });
}

std::vector<uint32_t> Checker::Unfinished() const {
  std::vector<uint32_t> jobs;
  for (const auto& [id, job] : jobs_) {
    if (!HasEnded(job.state)) jobs.push_back(job.truth);
  }
  return jobs;
}

}  // namespace corpgrid::sim
