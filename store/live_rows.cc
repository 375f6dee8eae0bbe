#include "store/live_rows.h"

#include <utility>

namespace corpgrid::store {
namespace {

bool HasEnded(const core::JobProgressRow& row) {
  return row.state != core::JobState::kQueued && row.state != core::JobState::kRunning;
}

}  // namespace

LiveRows::LiveRows(core::Snapshot&& snapshot) {
  core::WriteBatch batch;
  // By name, so that a class of rows that is new does not compile until it is kept.
  auto& [meta, join_tokens, devices, reputations, projects, models, jobs, shards, attempts, results,
         checkpoints, finished] = snapshot;
  batch.meta = std::move(meta);
  batch.join_tokens = std::move(join_tokens);
  batch.devices = std::move(devices);
  batch.reputations = std::move(reputations);
  batch.projects = std::move(projects);
  batch.models = std::move(models);
  batch.jobs = std::move(jobs);
  batch.shards = std::move(shards);
  batch.attempts = std::move(attempts);
  batch.results = std::move(results);
  batch.checkpoints = std::move(checkpoints);
  Keep(batch);
  for (core::FinishedJob& ended : finished) {
    Job& job = jobs_[ended.id];
    job.row.id = job.row.progress.id = ended.id;
    job.row.idempotency_key = std::move(ended.idempotency_key);
    job.row.progress.state = ended.state;
    job.row.progress.next_shard = job.shards = ended.next_shard;
    job.row.progress.finished_ms = ended.finished_ms;
    job.ended = true;
  }
}

void LiveRows::Keep(const core::WriteBatch& batch) {
  // By name again. Of the audit log nothing is kept, since Load gives nothing of it.
  const auto& [meta, join_tokens, devices, reputations, projects, models, jobs, job_progress,
               shards, attempts, results, checkpoints, forgotten_checkpoints, audit,
               forgotten_shards, forgotten_jobs] = batch;
  if (meta) meta_ = *meta;
  for (const auto& row : join_tokens) tokens_[row.secret_hash] = row;
  for (const auto& row : devices) devices_[row.id] = row;
  for (const auto& row : reputations) reputations_[row.device] = row;
  for (const auto& row : projects) projects_[row.name] = row;
  for (const auto& row : models) models_[row.name] = row;
  for (const auto& row : jobs) {
    jobs_[row.id].row = row;
    unfinished_.insert(row.id);
  }
  for (const auto& row : shards) Keep(row);
  for (const auto& row : attempts) Keep(row);
  for (const auto& row : results) {
    if (attempts_.contains(row.attempt)) results_[row.attempt] = row;
  }
  for (const auto& row : checkpoints) checkpoints_[{row.shard, row.holder}] = row;
  for (const ShardId& id : forgotten_checkpoints) {
    auto it = checkpoints_.lower_bound({id, ""});
    while (it != checkpoints_.end() && it->first.first == id) it = checkpoints_.erase(it);
  }
  for (const auto& row : job_progress) Keep(row);
  // Of the shards of ended jobs no row is kept; each job knows how many a store would have.
  for (const core::ShardRange& range : forgotten_shards) {
    jobs_.at(range.job).shards = range.first;
    auto it = checkpoints_.lower_bound({ShardId{range.job, range.first}, ""});
    while (it != checkpoints_.end() && it->first.first <= ShardId{range.job, range.last}) {
      it = checkpoints_.erase(it);
    }
  }
  for (const JobId id : forgotten_jobs) {
    if (jobs_.at(id).shards == 0) jobs_.erase(id);
  }
}

void LiveRows::Keep(const core::ShardRow& row) {
  Job& job = jobs_.at(row.id.job);
  if (row.state == core::ShardState::kRunning) {
    job.running[row.id.index] = row;
  } else {
    Forget(&job, row.id.index);
  }
}

void LiveRows::Keep(const core::AttemptRow& row) {
  Job& job = jobs_.at(row.shard.job);
  if (!job.running.contains(row.shard.index)) return;  // It ended in the same batch, or before.
  if (attempts_.insert_or_assign(row.id, row).second) {
    job.by_shard[row.shard.index].push_back(row.id);
  }
}

void LiveRows::Keep(const core::JobProgressRow& row) {
  Job& job = jobs_.at(row.id);
  job.row.progress = row;
  if (!HasEnded(row)) return;
  if (!std::exchange(job.ended, true)) job.shards = row.next_shard;
  unfinished_.erase(row.id);
  while (!job.by_shard.empty()) Forget(&job, job.by_shard.begin()->first);
  job.running.clear();
}

void LiveRows::Forget(Job* job, uint32_t shard) {
  job->running.erase(shard);
  const auto attempts = job->by_shard.find(shard);
  if (attempts == job->by_shard.end()) return;
  for (const AttemptId id : attempts->second) {
    attempts_.erase(id);
    results_.erase(id);
  }
  job->by_shard.erase(attempts);
}

core::Snapshot LiveRows::ToSnapshot() const {
  core::Snapshot snapshot;
  snapshot.meta = meta_;
  const auto copy = [](const auto& rows, auto* to) {
    to->reserve(rows.size());
    for (const auto& [key, row] : rows) to->push_back(row);
  };
  copy(tokens_, &snapshot.join_tokens);
  copy(devices_, &snapshot.devices);
  copy(reputations_, &snapshot.reputations);
  copy(projects_, &snapshot.projects);
  copy(models_, &snapshot.models);
  for (const JobId id : unfinished_) {
    const Job& job = jobs_.at(id);
    snapshot.jobs.push_back(job.row);
    copy(job.running, &snapshot.shards);
  }
  copy(attempts_, &snapshot.attempts);
  copy(results_, &snapshot.results);
  copy(checkpoints_, &snapshot.checkpoints);
  for (const auto& [id, job] : jobs_) {
    if (!job.ended) continue;
    const core::JobProgressRow& progress = job.row.progress;
    snapshot.finished.push_back(
        {job.row.idempotency_key, id, progress.state, progress.next_shard, progress.finished_ms});
  }
  return snapshot;
}

const core::JobRow* LiveRows::Find(JobId id) const {
  const auto it = jobs_.find(id);
  const bool there = it != jobs_.end() && it->second.row.progress.state != core::JobState::kRemoved;
  return there ? &it->second.row : nullptr;
}

}  // namespace corpgrid::store
