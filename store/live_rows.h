#pragma once

#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "core/rows.h"

namespace corpgrid::store {

// The rows that the core would load from a store, kept in memory by keeping every batch that the
// store is given. Of a job that has ended its own row stays and the rest goes. One thread.
class LiveRows {
 public:
  explicit LiveRows(core::Snapshot&& snapshot);

  void Keep(const core::WriteBatch& batch);
  // What Store::Load gives.
  core::Snapshot ToSnapshot() const;

  // Null when there is none, or it is removed. Of a job that had ended in the snapshot it knows no
  // more than that.
  const core::JobRow* Find(JobId id) const;
  const core::MetaRow& meta() const { return meta_; }

 private:
  struct Job {
    core::JobRow row;
    bool ended = false;
    uint32_t shards = 0;  // of an ended job, that have rows in the store
    std::map<uint32_t, core::ShardRow> running;
    std::map<uint32_t, std::vector<AttemptId>> by_shard;  // of running ones
  };

  void Keep(const core::JobProgressRow& row);
  void Keep(const core::ShardRow& row);
  void Keep(const core::AttemptRow& row);
  void Forget(Job* job, uint32_t shard);

  core::MetaRow meta_;
  std::map<crypto::Hash, core::JoinTokenRow> tokens_;
  std::map<DeviceId, core::DeviceRow> devices_;
  std::map<DeviceId, core::ReputationRow> reputations_;
  std::map<std::string, core::ProjectRow> projects_;
  std::map<std::string, core::ModelRow> models_;
  std::map<JobId, Job> jobs_;
  std::set<JobId> unfinished_;
  std::map<std::pair<ShardId, std::string>, core::CheckpointRow> checkpoints_;  // by holder
  std::map<AttemptId, core::AttemptRow> attempts_;                              // of running shards
  std::map<AttemptId, core::ResultRow> results_;                                // of these attempts
};

}  // namespace corpgrid::store
