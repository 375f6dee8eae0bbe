#pragma once

#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "sim/random.h"
#include "sim/storage.h"

namespace corpgrid::sim {

// The rows that a store keeps, in maps. Of a job that has ended its own row stays and the rest
// goes, because nothing asks for it again and a simulated year ends many jobs.
class MemoryTables {
 public:
  MemoryTables();

  void Keep(const core::WriteBatch& batch);
  core::Snapshot ToSnapshot() const;
  const core::JobRow* Find(JobId id) const;

 private:
  struct Job {
    core::JobRow row;
    bool ended = false;
    std::map<uint32_t, core::ShardRow> running;
    std::map<AttemptId, core::AttemptRow> attempts;  // of running shards
    std::map<uint32_t, std::vector<AttemptId>> by_shard;
  };

  void Keep(const core::JobProgressRow& row);
  void Keep(const core::ShardRow& row);
  void Forget(Job* job, uint32_t shard);

  core::MetaRow meta_;
  std::map<crypto::Hash, core::JoinTokenRow> tokens_;
  std::map<DeviceId, core::DeviceRow> devices_;
  std::map<DeviceId, core::ReputationRow> reputations_;
  std::map<JobId, Job> jobs_;
  std::set<JobId> unfinished_;
  std::map<std::pair<ShardId, std::string>, core::CheckpointRow> checkpoints_;  // by holder
  std::map<AttemptId, core::ResultRow> results_;  // of attempts that are kept
};

// A store that is quick enough for simulated years, and fails like a disk does: a commit is there
// whole or not at all, and what was said of it may be wrong.
class MemoryStorage final : public Storage {
 public:
  explicit MemoryStorage(uint64_t seed) : random_(seed) {}

  absl::StatusOr<std::unique_ptr<store::Store>> Open() override;
  void FailNextCommit(Fault fault) override { next_commit_ = fault; }
  void FailNextLoad() override { fail_load_ = true; }
  bool dead() const override { return down_; }
  void Mend() override;
  void Crash(bool torn, bool lost) override;

 private:
  friend class MemoryStore;

  absl::StatusOr<core::Snapshot> Load();
  absl::Status Commit(const core::WriteBatch& batch);

  Random random_;
  MemoryTables tables_;
  std::optional<Fault> next_commit_;
  bool fail_load_ = false;
  bool down_ = false;
  // A commit that was refused but whose bytes may be on the disk: a crash decides.
  std::optional<core::WriteBatch> limbo_;
};

}  // namespace corpgrid::sim
