// Who goes on from which saved state. docs/decisions/0005-checkpoints.md says why.

#include <utility>

#include "core/grid.h"
#include "fmt/format.h"

namespace corpgrid::core {

Reply Grid::Do(const ReportCheckpoint& c, Effects* effects) {
  const Found found = FindAttempt(c.attempt);
  if (!found.attempt || found.attempt->row.device != c.device ||
      found.attempt->row.lease_token != c.lease_token ||
      found.attempt->row.state != AttemptState::kRunning) {
    return absl::FailedPreconditionError("this attempt is not this device's, or has ended");
  }
  if (!found.job->spec->checkpoint) {
    return absl::InvalidArgumentError("the job has no checkpoints");
  }
  std::string holder = HolderOf(*found.job, *found.shard, found.attempt->row);
  CheckpointRow& row = found.shard->checkpoints[holder];
  const AttemptId before = std::exchange(row.attempt, c.attempt);
  if (before && before != c.attempt) effects->drop_states.push_back(before);
  row.shard = found.shard->row.id;
  row.holder = std::move(holder);
  row.state = c.state;
  effects->rows.checkpoints.push_back(row);
  Extend(*found.attempt);
  return absl::OkStatus();
}

// A vote that began with another party's state would be that party's vote. So a state is its
// party's own, unless the shard is decided by one result that nobody checks.
std::string Grid::HolderOf(const Job& job, const Shard& shard, const AttemptRow& attempt) const {
  const job::Redundancy& redundancy = job.spec->redundancy;
  // What the operator answers for begins with nobody else's work.
  if (attempt.trusted) return fmt::format("trusted device {}", attempt.device.value);
  if (!job.promises() && redundancy.quorum == 1 && shard.row.replicas == 1) return "";
  return redundancy.distinct == job::Distinct::kOwner ? attempt.owner : attempt.device.ToString();
}

std::optional<crypto::Hash> Grid::StateFor(const Job& job, const Shard& shard,
                                           const AttemptRow& attempt) const {
  if (shard.checkpoints.empty()) return std::nullopt;
  const auto it = shard.checkpoints.find(HolderOf(job, shard, attempt));
  if (it == shard.checkpoints.end()) return std::nullopt;
  return it->second.state;
}

void Grid::ForgetStates(Shard& shard, Effects* effects) {
  if (shard.checkpoints.empty()) return;
  for (const auto& [holder, row] : shard.checkpoints) effects->drop_states.push_back(row.attempt);
  shard.checkpoints.clear();
  effects->rows.forgotten_checkpoints.push_back(shard.row.id);
}

// Of an attempt that has ended: it may have staged a state that it never reported.
void Grid::DropUnnamedState(const AttemptRow& attempt, Effects* effects) {
  const Job* job = FindJob(attempt.shard.job);
  if (!job || !job->spec->checkpoint) return;
  for (const auto& [holder, row] : job->live.at(attempt.shard.index).checkpoints) {
    if (row.attempt == attempt.id) return;
  }
  effects->drop_states.push_back(attempt.id);
}

std::set<AttemptId> Grid::AttemptsWithState() const {
  std::set<AttemptId> attempts;
  for (const auto& [id, job] : jobs_) {
    for (const auto& [index, shard] : job.live) {
      for (const auto& [holder, row] : shard.checkpoints) attempts.insert(row.attempt);
    }
  }
  return attempts;
}

}  // namespace corpgrid::core
