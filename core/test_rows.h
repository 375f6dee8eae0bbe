#pragma once

#include <map>

#include "core/rows.h"

namespace corpgrid::core {

// The tables of a store, in memory.
struct TestRows {
  // What a store does with a commit.
  void Keep(const WriteBatch& rows) {
    if (rows.meta) meta_ = *rows.meta;
    for (const auto& row : rows.join_tokens) tokens_[row.secret_hash] = row;
    for (const auto& row : rows.devices) devices_[row.id] = row;
    for (const auto& row : rows.reputations) reputations_[row.device] = row;
    for (const auto& row : rows.projects) projects_[row.name] = row;
    for (const auto& row : rows.models) models_[row.name] = row;
    for (const auto& row : rows.jobs) jobs_[row.id] = row;
    for (const auto& row : rows.job_progress) jobs_.at(row.id).progress = row;
    for (const auto& row : rows.shards) shards_[row.id] = row;
    for (const auto& row : rows.attempts) attempts_[row.id] = row;
    for (const auto& row : rows.results) results_[row.attempt] = row;
    for (const auto& row : rows.checkpoints) checkpoints_[{row.shard, row.holder}] = row;
    audit_.insert(audit_.end(), rows.audit.begin(), rows.audit.end());
    for (const ShardId& shard : rows.forgotten_checkpoints) {
      std::erase_if(checkpoints_, [&](const auto& entry) { return entry.first.first == shard; });
    }
    for (const ShardRange& range : rows.forgotten_shards) {
      const auto in_range = [&](const ShardId& id) {
        return id.job == range.job && id.index >= range.first && id.index <= range.last;
      };
      std::erase_if(shards_, [&](const auto& entry) { return in_range(entry.first); });
      std::erase_if(attempts_, [&](const auto& entry) { return in_range(entry.second.shard); });
      std::erase_if(results_, [&](const auto& entry) { return !attempts_.contains(entry.first); });
    }
    for (const JobId id : rows.forgotten_jobs) jobs_.erase(id);
  }

  // What a store gives back on loading.
  Snapshot ToSnapshot() const {
    Snapshot snapshot;
    snapshot.meta = meta_;
    for (const auto& [key, row] : tokens_) snapshot.join_tokens.push_back(row);
    for (const auto& [key, row] : devices_) snapshot.devices.push_back(row);
    for (const auto& [key, row] : reputations_) snapshot.reputations.push_back(row);
    for (const auto& [name, row] : projects_) snapshot.projects.push_back(row);
    for (const auto& [name, row] : models_) snapshot.models.push_back(row);
    for (const auto& [id, row] : jobs_) {
      if (row.progress.state > JobState::kRunning) {
        snapshot.finished.push_back({row.idempotency_key, id, row.progress.state,
                                     row.progress.next_shard, row.progress.finished_ms});
        continue;
      }
      snapshot.jobs.push_back(row);
      for (const auto& [shard_id, shard] : shards_) {
        if (shard_id.job == id && shard.state == ShardState::kRunning)
          snapshot.shards.push_back(shard);
      }
    }
    for (const auto& [id, row] : attempts_) {
      const auto job = jobs_.find(row.shard.job);
      if (job->second.progress.state > JobState::kRunning) continue;
      if (shards_.at(row.shard).state != ShardState::kRunning) continue;
      snapshot.attempts.push_back(row);
      if (results_.contains(id)) snapshot.results.push_back(results_.at(id));
    }
    for (const auto& [key, row] : checkpoints_) snapshot.checkpoints.push_back(row);
    return snapshot;
  }

  MetaRow meta_;
  std::map<crypto::Hash, JoinTokenRow> tokens_;
  std::map<DeviceId, DeviceRow> devices_;
  std::map<DeviceId, ReputationRow> reputations_;
  std::map<std::string, ProjectRow> projects_;
  std::map<std::string, ModelRow> models_;
  std::map<JobId, JobRow> jobs_;
  std::map<ShardId, ShardRow> shards_;
  std::map<AttemptId, AttemptRow> attempts_;
  std::map<AttemptId, ResultRow> results_;
  std::vector<AuditRow> audit_;
  std::map<std::pair<ShardId, std::string>, CheckpointRow> checkpoints_;
};

}  // namespace corpgrid::core
