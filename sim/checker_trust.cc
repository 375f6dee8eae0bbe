// Whose word counts: trusted devices, what their audits find, and who is left to decide a shard.

#include <algorithm>
#include <cstdlib>
#include <string>

#include "fmt/format.h"
#include "sim/checker.h"

namespace corpgrid::sim {

DeviceId Checker::NotYetTrusted() const {
  for (const auto& [id, device] : devices_) {
    const bool should_be = device.row.id && world_->devices()[device.agent].trusted;
    if (should_be && !device.row.trusted) return id;
  }
  return {};
}

// Unless somebody said otherwise in the same batch.
void Checker::ReleasedTrust(const core::TrustDevice& trust) {
  const auto device = devices_.find(trust.device);
  if (device == devices_.end() || device->second.trust_changes > 1) return;
  if (device->second.row.trusted == trust.trusted) return;
  Fail(fmt::format("device {} was to be trusted{}, and the store says otherwise",
                   trust.device.value, trust.trusted ? "" : " no more"));
}

// An attempt is trusted when its device was at the time of the lease.
void Checker::CheckTrusted(const core::AttemptRow& row, const DeviceFact& device) {
  if (resurrecting_ || device.trust_round == rounds_ || row.trusted == device.row.trusted) return;
  Fail(fmt::format("attempt {} is {}trusted, but its device is {}", row.id.value,
                   row.trusted ? "" : "not ", device.row.trusted ? "" : "not"));
}

uint64_t Checker::FoundWrong(const core::WriteBatch& batch) const {
  std::map<JobId, uint32_t> now;
  for (const core::JobProgressRow& row : batch.job_progress) {
    if (row.state != core::JobState::kRemoved) now[row.id] = row.found_wrong;
  }
  uint64_t more = 0;
  for (const auto& [id, found] : now) {
    const auto job = jobs_.find(id);
    more += found - (job == jobs_.end() ? 0 : job->second.found_wrong);
  }
  return more;
}

bool Checker::Agree(AttemptId a, AttemptId b) const {
  const AttemptFact &one = attempts_.at(a), &other = attempts_.at(b);
  return one.vote == other.vote && std::abs(one.rounding - other.rounding) <= 1;
}

AttemptId Checker::Favourite(const ShardFact& shard) const {
  AttemptId favourite;
  std::ptrdiff_t most = 0;
  for (const AttemptId id : shard.live) {
    const auto votes = [&](AttemptId other) {
      const AttemptFact& fact = attempts_.at(other);
      return fact.vote && !fact.trusted && Agree(id, other);
    };
    if (!votes(id)) continue;
    const auto agreeing = std::count_if(shard.live.begin(), shard.live.end(), votes);
    if (agreeing <= most) continue;
    most = agreeing;
    favourite = id;
  }
  return favourite;
}

// A shard that was accepted before is decided: by a trusted device, or as it was accepted.
void Checker::LandedAudited(JobFact* job, const ShardFact& shard, const core::ShardRow& row) {
  const auto winner = attempts_.find(row.winner);
  if (winner == attempts_.end()) return;
  if (winner->second.trusted) ++job->checked;
  if (!shard.accepted) return;
  const bool is_wrong = !Agree(row.winner, shard.accepted);
  if (is_wrong && !winner->second.trusted) {
    Fail(fmt::format("shard {} of job {} was accepted and decided otherwise", row.id.index,
                     row.id.job.value));
  }
  if (is_wrong) ++job->mended;
}

void Checker::CheckCounts(JobFact* job, const core::JobProgressRow& row) {
  const JobTruth& truth = TruthOf(*job);
  job->found_wrong = row.found_wrong;
  if (row.checked != job->checked || row.found_wrong < job->mended ||
      row.found_wrong > row.audited || row.checked + row.unsampled > row.done) {
    Fail(fmt::format("job {} counts {} checked and {} wrong of {} audited, not {} and {}",
                     row.id.value, row.checked, row.found_wrong, row.audited, job->checked,
                     job->mended));
  }
  if (row.state != core::JobState::kDone) return;
  const double bound = static_cast<double>(row.bound_billionths) / 1e9;
  const double max_error = truth.spec->redundancy.max_error;
  if (max_error > 0 && bound > max_error + 1e-9) {
    Fail(fmt::format("job {} ended with a bound of {}, not {}", row.id.value, bound, max_error));
  }
  if (truth.nature != Nature::kSound) return;
  bounds_.push_back({.shards = row.done,
                     .wrong = job->wrong,
                     .checked = row.checked,
                     .found_wrong = row.found_wrong,
                     .bound = bound,
                     .promised = max_error > 0});
}

bool Checker::Starved(const JobTruth& job) const {
  const auto it = jobs_.find(job.id);
  if (it == jobs_.end()) return false;
  std::map<uint64_t, bool> fit;  // parties
  for (const auto& [id, device] : devices_) {
    if (Suits(device.row, *job.spec)) fit[PartyOf(job, id)] = true;
  }
  if (HasTrusted(job)) return false;
  if (job.spec->redundancy.max_error > 0) return true;
  const uint32_t quorum = job.spec->redundancy.quorum;
  if (fit.size() < quorum) return true;
  for (const auto& [index, shard] : it->second.shards) {
    std::vector<const AttemptFact*> votes;
    size_t left = fit.size();
    for (const AttemptId id : shard.live) {
      const AttemptFact& fact = attempts_.at(id);
      if (!fact.vote) continue;
      votes.push_back(&fact);
      if (fit.contains(PartyOf(job, fact.device))) --left;
    }
    size_t best = 0;
    for (const AttemptFact* one : votes) {
      const auto agree = [one](const AttemptFact* other) {
        return one->vote == other->vote && std::abs(one->rounding - other->rounding) <= 1;
      };
      best = std::max(best, static_cast<size_t>(std::count_if(votes.begin(), votes.end(), agree)));
    }
    if (best + left < quorum) return true;
  }
  return false;
}

bool Checker::HasTrusted(const JobTruth& job) const {
  return std::any_of(devices_.begin(), devices_.end(), [&](const auto& entry) {
    return world_->devices()[entry.second.agent].trusted && Suits(entry.second.row, *job.spec);
  });
}

}  // namespace corpgrid::sim
