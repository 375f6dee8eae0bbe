// What devices are for that the operator trusts. docs/decisions/0010-audits-and-probes.md says why.
//
// A result that a quorum accepted may be audited: by a coin that is thrown only then, its shard
// waits until a trusted device has computed it too, and that result counts. So nothing wrong that
// is found ever was a job's result, and who lied did so before anybody knew of the audit. A job
// that asks for a bound holds all its shards until its audits are over; when one found a wrong
// result, all are audited. A probe is the reverse: what a trusted device computed is given to
// another one.

#include <algorithm>
#include <cstring>
#include <utility>

#include "core/grid.h"
#include "fmt/format.h"

namespace corpgrid::core {
namespace {

// Another number for each seed and shard, unguessable without the seed; below kCertain.
uint64_t Coin(const std::array<uint8_t, 32>& seed, ShardId shard) {
  const crypto::Hash hash = crypto::KeyedBlake3(
      seed, fmt::format("audit of shard {} of job {}", shard.index, shard.job.value));
  uint64_t coin = 0;
  for (size_t i = 0; i < 4; ++i) coin = coin << 8 | hash.bytes[i];
  return coin;
}

}  // namespace

Reply Grid::Do(const TrustDevice& c, Effects* effects) {
  Device* device = FindDevice(c.device);
  if (!device) return absl::NotFoundError(fmt::format("no device {}", c.device.value));
  if (device->row.trusted == c.trusted) return absl::OkStatus();
  if (c.trusted && trusted_.size() >= kMaxTrusted) {
    return absl::ResourceExhaustedError(fmt::format(
        "{} devices are trusted already, which is the most; end it for another one with `corpgrid "
        "device trust DEVICE --undo`",
        kMaxTrusted));
  }
  device->row.trusted = c.trusted;
  effects->rows.devices.push_back(device->row);
  LogTrust(device->row, effects);
  if (c.trusted) {
    trusted_.insert(c.device);
    if (device->wants > 0) Offer(*device, effects);
    return absl::OkStatus();
  }
  trusted_.erase(c.device);
  for (const AttemptId id : std::vector<AttemptId>(device->leases)) {
    const Found found = FindAttempt(id);
    if (!found.attempt->row.trusted) continue;
    Abandon(found, AttemptState::kCancelled, effects);
    effects->rows.shards.push_back(found.shard->row);
    Requeue(*found.job, *found.shard);
  }
  return absl::OkStatus();
}

bool Grid::HasAuditor(const Job& job, int64_t silent_ms) const {
  return std::any_of(trusted_.begin(), trusted_.end(), [&](DeviceId id) {
    const Device& device = devices_.at(id);
    const bool is_heard = device.last_seen_ms > 0 || silent_ms == INT64_MAX;
    return Fits(job.want, device.row) && !device.row.drained && is_heard &&
           meta_.time_ms - device.last_seen_ms <= silent_ms;
  });
}

absl::Status Grid::MayPromise(const Job& job) const {
  if (!job.promises() || HasAuditor(job)) return absl::OkStatus();
  return absl::FailedPreconditionError(fmt::format(
      "max_error {} cannot be promised: no trusted device can run this job, so that the smallest "
      "bound this grid can reach is 1 (all of its results might be wrong). Trust one with "
      "`corpgrid "
      "device trust DEVICE`, or ask for replicas and a quorum instead",
      job.spec->redundancy.max_error));
}

uint64_t Grid::AuditChanceOf(const job::JobSpec& spec) const {
  const double shards = spec->shards, max_error = spec->redundancy.max_error;
  if (max_error > 0) return ChanceFor(static_cast<uint64_t>(max_error * shards));
  const double rate = std::min(config_.audit_rate, static_cast<double>(kAuditsAJob) / shards);
  return rate >= 1 ? kCertain : static_cast<uint64_t>(rate * static_cast<double>(kCertain));
}

uint32_t Grid::FreshFor(const Job& job, const Device& device) {
  return job.trusted_only() && !device.row.trusted ? 0 : job.fresh();
}

uint32_t Grid::QuorumOf(const Job& job, const Attempt& winner) const {
  if (!job.promises()) return job.spec->redundancy.quorum;
  const bool alone = MayRunAlone(devices_.at(winner.row.device).reputation, meta_.time_ms);
  return alone ? 1 : kQuorumOfPromises;
}

bool Grid::HasTrusted(const Shard& shard) {
  return std::any_of(shard.attempts.begin(), shard.attempts.end(),
                     [](const Attempt& a) { return a.row.trusted; });
}

const Grid::Attempt* Grid::CheckedOf(const Shard& shard) {
  const auto found = std::find_if(shard.attempts.begin(), shard.attempts.end(),
                                  [](const Attempt& a) { return a.counted && a.row.trusted; });
  return found == shard.attempts.end() ? nullptr : &*found;
}

bool Grid::AllCount(const Shard& shard) {
  return std::all_of(shard.attempts.begin(), shard.attempts.end(),
                     [](const Attempt& a) { return a.counted || !a.result_key; });
}

bool Grid::AwaitAudit(Job& job, Shard& shard, Effects* effects) {
  // Of those that cannot be audited now the bound has to think the worst.
  const bool sampled = job.promises() || HasAuditor(job, config_.lease_ttl_ms());
  const bool chosen = sampled && Coin(seed_, shard.row.id) < job.row.audit_chance;
  if (!chosen && !job.promises()) {
    if (!sampled) ++job.row.progress.unsampled;
    return false;
  }
  Close(job, shard);
  shard.row.audit = chosen ? AuditState::kWanted : AuditState::kHeld;
  for (Attempt& attempt : shard.attempts) {
    if (attempt.counted || (chosen && attempt.row.trusted)) continue;
    EndAttempt(attempt, AttemptState::kCancelled, effects);
  }
  std::erase_if(shard.attempts, [](const Attempt& a) { return !IsLive(a.row.state); });
  effects->rows.shards.push_back(shard.row);
  if (chosen) audit_ends_.emplace(meta_.time_ms + kAuditPatienceMs, shard.row.id);
  Requeue(job, shard);
  ReleaseSoon(job);
  return true;
}

bool Grid::AwaitProbe(Job& job, Shard& shard, const Attempt& truth, Effects* effects) {
  const bool tells = truth.succeeded && Confirms(job) && !job.promises();
  if (!tells || shard.attempts.size() > 1 || Coin(seed_, shard.row.id) >= job.row.audit_chance) {
    return false;
  }
  // Who is busy need not be probed now, and the shard need not wait.
  const auto suits = [&](DeviceId id) {
    const Device& device = devices_.at(id);
    return !device.row.trusted && Fits(job.want, device.row) &&
           PartyOf(job, device) != truth.party && PausedUntilMs(job, id) <= meta_.time_ms;
  };
  const auto no_fit = [](DeviceId) { return 0.0; };
  if (waiting_.Best(job.want, 1, kMaxScanned, suits, no_fit).empty()) return false;
  Close(job, shard);
  shard.row.audit = AuditState::kProbe;
  shard.row.replicas = 2;
  effects->rows.shards.push_back(shard.row);
  audit_ends_.emplace(meta_.time_ms + kAuditPatienceMs, shard.row.id);
  Requeue(job, shard);
  return true;
}

void Grid::Audited(Job& job, const Shard& shard, const Attempt& truth, Effects* effects) {
  const Attempt& accepted = *Count(job, shard).winner;
  const bool is_wrong = !Agree(job, truth, accepted);
  JobProgressRow& progress = job.row.progress;
  ++progress.audited;
  dirty_jobs_.insert(progress.id);
  if (!is_wrong) return;
  ++progress.found_wrong;
  LogWrong(accepted.row, truth.row, effects);
  AddNewWork(job);  // Whatever the job holds is wanted now.
}

void Grid::Judge(const Job& job, const Attempt& truth, const Attempt& attempt) {
  Device& device = devices_.at(attempt.row.device);
  dirty_devices_.insert(device.row.id);
  ReputationRow* reputation = &device.reputation;
  if (Agree(job, truth, attempt)) {
    ++reputation->agreed;
    if (!Confirms(job) || attempt.row.trusted) return;
    if (truth.row.trusted) {
      Confirm(reputation, meta_.time_ms);
    } else {
      Reward(reputation, meta_.time_ms);
    }
    return;
  }
  // Where one result is enough nobody said that all have to be the same.
  if (!Confirms(job)) return;
  ++reputation->disagreed;
  if (truth.row.trusted) {
    Refute(reputation, meta_.time_ms);
  } else {
    Blame(device, Fault::kMismatch);
  }
}

void Grid::DropLateAudits(Effects* effects) {
  while (!audit_ends_.empty() && audit_ends_.begin()->first <= meta_.time_ms) {
    const ShardId id = audit_ends_.extract(audit_ends_.begin()).mapped();
    Job* job = FindJob(id.job);
    if (!job || job->promises()) continue;
    const auto found = job->live.find(id.index);
    if (found == job->live.end() || found->second.row.audit == AuditState::kNone) continue;
    Shard& shard = found->second;
    const bool is_run = std::any_of(shard.attempts.begin(), shard.attempts.end(),
                                    [](const Attempt& a) { return !a.counted; });
    if (is_run) {
      audit_ends_.emplace(meta_.time_ms + kAuditPatienceMs, id);
    } else if (const Attempt* truth = CheckedOf(shard)) {
      Conclude(*job, shard, *truth, effects);
    } else {
      ++job->row.progress.audits_dropped;
      Conclude(*job, shard, *Count(*job, shard).winner, effects);
    }
  }
}

absl::Status Grid::GoOnWith(Job& job) {
  for (const auto& [index, shard] : job.live) {
    Reopen(job, shard);
    if (shard.row.audit == AuditState::kNone) continue;
    const bool has_result =
        std::any_of(shard.attempts.begin(), shard.attempts.end(),
                    [](const Attempt& attempt) { return attempt.result_key.has_value(); });
    if (!has_result) {
      return absl::DataLossError(
          fmt::format("shard {} of job {} was accepted without a result", index, job.row.id.value));
    }
    audit_ends_.emplace(meta_.time_ms + kAuditPatienceMs, shard.row.id);
  }
  ReleaseSoon(job);
  return absl::OkStatus();
}

void Grid::ReleaseSoon(const Job& job) {
  const bool is_over = job.fresh() == 0 && job.live.size() == job.held.size();
  if (job.promises() && is_over && !job.checks_all()) releases_.insert(job.row.id);
}

void Grid::Release(Effects* effects) {
  for (size_t left = kMaxReleased; left > 0 && !releases_.empty();) {
    Job* job = FindJob(*releases_.begin());
    if (!job || job->held.empty()) {
      releases_.erase(releases_.begin());
      continue;
    }
    Shard& shard = job->live.at(*job->held.begin());
    if (!AllCount(shard)) return;  // After a restart results are compared anew.
    Conclude(*job, shard, *Count(*job, shard).winner, effects);
    --left;
  }
}

void Grid::SetBound(Job& job) const {
  JobProgressRow& progress = job.row.progress;
  const uint64_t sampled = progress.done - progress.checked - progress.unsampled;
  const uint64_t found = progress.found_wrong;
  const uint64_t wrong =
      MostWrong(job.row.audit_chance, found + progress.audits_dropped, found + sampled) - found +
      progress.unsampled;
  constexpr uint64_t kBillion = 1'000'000'000;
  progress.bound_billionths =
      static_cast<int64_t>((wrong * kBillion + progress.done - 1) / progress.done);
}

}  // namespace corpgrid::core
