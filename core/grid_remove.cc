// How jobs that have ended are forgotten: at once for everybody, row by row for the store.

#include <algorithm>
#include <utility>

#include "core/grid.h"
#include "fmt/format.h"

namespace corpgrid::core {

Reply Grid::Do(const RemoveJob& c, Effects* effects) {
  const auto ended = ended_.find(c.job);
  if (ended == ended_.end() && !FindJob(c.job)) {
    if (c.job && c.job < JobId{meta_.next_job}) return absl::OkStatus();  // removed before
    return absl::NotFoundError(
        fmt::format("no job {}; `corpgrid job list` shows them", c.job.value));
  }
  // What ended in this very batch has not ended for anybody yet: its end has to be in the store.
  if (ended == ended_.end() || ended->second.finished_ms >= meta_.time_ms) {
    return absl::FailedPreconditionError(fmt::format(
        "job {} has not ended; `corpgrid job cancel {}` ends it", c.job.value, c.job.value));
  }
  Remove(c.job, "a person removed it", effects);
  return absl::OkStatus();
}

void Grid::LoadEnded(const std::vector<FinishedJob>& jobs) {
  for (const FinishedJob& job : jobs) {
    if (job.state == JobState::kRemoved) {
      removing_[job.id] = job.next_shard;
    } else {
      AddEnded(job.idempotency_key, job.id,
               {.state = job.state, .shards = job.next_shard, .finished_ms = job.finished_ms});
    }
  }
}

void Grid::AddEnded(const std::string& key, JobId id, const Ended& ended) {
  Ended& entry = ended_[id] = ended;
  const auto [by_key, added] = job_by_key_.insert_or_assign(key, id);
  entry.key = &by_key->first;
  ends_.emplace(entry.finished_ms, id);
}

void Grid::Remove(JobId id, std::string_view why, Effects* effects) {
  const auto node = ended_.extract(id);
  const Ended& ended = node.mapped();
  ends_.erase({ended.finished_ms, id});
  job_by_key_.erase(std::string(*ended.key));
  removing_[id] = ended.shards;
  // The first thing to reach the store: from then on nobody finds the job, after a crash neither.
  effects->rows.job_progress.push_back(
      {.id = id, .state = JobState::kRemoved, .next_shard = ended.shards});
  effects->removed.push_back(id);
  effects->changed.push_back(id);
  LogRemoval(id, why, effects);
}

void Grid::RemoveOld(Effects* effects) {
  if (config_.keep_jobs_ms == 0) return;
  for (size_t i = 0; i < kJobsRemovedATick && !ends_.empty(); ++i) {
    const auto [finished_ms, id] = *ends_.begin();
    if (meta_.time_ms - finished_ms < config_.keep_jobs_ms) return;
    Remove(id, "its time was over", effects);
  }
}

// From the last shard to the first, so that the row of the job tells how far this came.
void Grid::DeleteSome(Effects* effects) {
  uint32_t budget = kShardsRemovedATick;
  while (budget > 0 && !removing_.empty()) {
    const auto job = removing_.begin();
    auto& [id, shards] = *job;
    const uint32_t now = std::min(shards, budget);
    budget -= std::max(now, 1u);
    if (now > 0) {
      effects->rows.forgotten_shards.push_back(
          {.job = id, .first = shards - now, .last = shards - 1});
      shards -= now;
    }
    if (shards > 0) {
      effects->rows.job_progress.push_back(
          {.id = id, .state = JobState::kRemoved, .next_shard = shards});
    } else {
      effects->rows.forgotten_jobs.push_back(id);
      removing_.erase(job);
    }
  }
}

}  // namespace corpgrid::core
