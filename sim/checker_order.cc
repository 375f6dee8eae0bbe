// Which job goes before which, when it has to end, which devices understand it, and what may be
// taken from one.

#include <algorithm>

#include "fmt/format.h"
#include "sim/checker.h"

namespace corpgrid::sim {

// On a drained device, or while a job of its project of a higher priority goes on, or did until a
// later request of the same batch.
bool Checker::MayBeGivenBack(const DeviceFact& device, const AttemptFact& fact) const {
  if (device.applied.drained || device.drained_round == rounds_) return true;
  const job::JobFields& own = *TruthOf(jobs_.at(fact.shard.job)).spec;
  return std::any_of(jobs_.begin(), jobs_.end(), [&](const auto& entry) {
    const job::JobFields& other = *TruthOf(entry.second).spec;
    const bool goes_on = !HasEnded(entry.second.state) || changed_.contains(entry.first);
    return goes_on && other.project == own.project && other.priority > own.priority;
  });
}

void Checker::Refused(const JobTruth& job) {
  if (job.spec->redundancy.max_error > 0) return;  // Perhaps nobody was trusted then.
  const std::vector<uint64_t>& after = job.spec->after;
  const bool gone =
      std::any_of(after.begin(), after.end(), [&](uint64_t id) { return IsRemoved(JobId{id}); });
  if (!gone && !FollowsAFailure(job) && !refused_.contains(job.key)) {
    Fail(fmt::format("{} was refused for no reason", job.key));
  }
}

bool Checker::FollowsAFailure(const JobTruth& job) const {
  const std::vector<uint64_t>& after = job.spec->after;
  return std::any_of(after.begin(), after.end(), [&](uint64_t id) {
    const core::JobState state = jobs_.at(JobId{id}).state;
    return HasEnded(state) && state != core::JobState::kDone;
  });
}

bool Checker::MayFailWhole(const JobFact& job) const {
  const JobTruth& truth = TruthOf(job);
  const int64_t deadline_ms = truth.spec->deadline_ms;
  const bool late = deadline_ms > 0 && meta_.time_ms >= job.submitted_ms + deadline_ms;
  return late || FollowsAFailure(truth);
}

void Checker::CheckFollows(const core::WriteBatch& batch) {
  for (const core::AttemptRow& row : batch.attempts) {
    const JobTruth* job = world_->FindJob(row.shard.job);
    if (job) CheckFollows(*job);
  }
}

void Checker::CheckFollows(const JobTruth& job) {
  for (const uint64_t id : job.spec->after) {
    if (jobs_.at(JobId{id}).state != core::JobState::kDone) {
      Fail(fmt::format("job {} began before job {} was done", job.id.value, id));
    }
  }
}

// Also of a lease that is given again, perhaps to an older agent than the first time.
void Checker::CheckUnderstood(const core::Lease& lease) {
  const auto device = devices_.find(lease.device);
  const JobTruth* job = AppliedJob(lease.shard.job);
  if (device == devices_.end() || !job) return;
  const uint32_t needed = World::ProtocolOf(*job->spec);
  if (device->second.applied.protocol >= needed) return;
  Fail(fmt::format("attempt {} was leased to an agent of protocol version {}, but its job needs {}",
                   lease.attempt.value, device->second.applied.protocol, needed));
}

void Checker::CheckDeadlines() {
  for (; !due_.empty() && due_.begin()->first <= applied_ms_; due_.erase(due_.begin())) {
    if (HasEnded(jobs_.at(due_.begin()->second).state)) continue;
    Fail(fmt::format("job {} goes on after its deadline", due_.begin()->second.value));
  }
}

void Checker::HeardOfDeath(const core::ReportDeath& report) {
  for (const core::ReportDeath::Begun& begun : report.attempts) {
    const auto fact = attempts_.find(begun.attempt);
    if (fact == attempts_.end() || fact->second.device != report.device ||
        fact->second.token != begun.lease_token) {
      continue;
    }
    const ShardId id = fact->second.shard;
    const auto job = jobs_.find(id.job);
    const auto shard = job->second.shards.find(id.index);
    if (shard != job->second.shards.end()) shard->second.died.insert(report.device);
  }
}

}  // namespace corpgrid::sim
