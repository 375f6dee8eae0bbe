// What results mean: whether they are heard, when a shard is decided, and what a failure costs.

#include <algorithm>
#include <utility>

#include "core/grid.h"
#include "fmt/format.h"

namespace corpgrid::core {
namespace {

std::string Describe(const job::Result& result) {
  if (result.outcome == job::Outcome::kExited) {
    return fmt::format("the command ended with status {}", result.exit_code);
  }
  if (result.outcome == job::Outcome::kSignaled) {
    return fmt::format("the command was ended by signal {}", result.exit_code);
  }
  return std::string(job::ToText(result.outcome));
}

std::string WithDetail(std::string text, const std::string& detail) {
  return detail.empty() ? text : fmt::format("{}: {}", text, detail);
}

}  // namespace

Reply Grid::Do(const SubmitResults& c, Effects* effects) {
  Device* device = FindDevice(c.device);
  if (!device) return absl::UnauthenticatedError("unknown device: register first");
  Hear(*device);
  std::vector<Verdict> verdicts;
  verdicts.reserve(c.results.size());
  for (const HandedIn& in : c.results) verdicts.push_back(HandIn(*device, in, effects));
  return verdicts;
}

Verdict Grid::HandIn(Device& device, const HandedIn& in, Effects* effects) {
  const AttemptId id = in.row.attempt;
  const Found found = FindAttempt(id);
  if (!found.attempt) {
    const auto it = remembered_.find(id);
    if (it != remembered_.end() && it->second.device == device.row.id &&
        it->second.token == in.lease_token) {
      // A repeated call whose reply was lost, or work that was called off meanwhile, is nobody's
      // fault.
      if (it->second.was_accepted) return {id, true, ""};
      if (!it->second.expired) return {id, false, "the job has ended"};
    }
    return Refuse(device, id, "its lease has ended or never was", effects);
  }
  Attempt& attempt = *found.attempt;
  if (attempt.row.device != device.row.id || attempt.row.lease_token != in.lease_token) {
    return Refuse(device, id, "the attempt is another device's", effects);
  }
  if (in.proof == Proof::kBadSignature) {
    Blame(device, Fault::kChecksum);
    return Refuse(device, id, "the signature is not this device's over this result", effects);
  }
  if (attempt.result_key) return {id, true, ""};  // repeated; the first one counts
  if (in.proof == Proof::kBytesMissing) {
    return Refuse(device, id, "its outputs are not staged with the hashes it names", effects);
  }
  Job& job = *found.job;
  Shard& shard = *found.shard;
  effects->rows.results.push_back(in.row);
  if (in.row.result.outcome == job::Outcome::kDeviceFault) {
    ++device.reputation.faults;
    dirty_devices_.insert(device.row.id);
    PauseAfterFault(job, device.row.id);
    Abandon(found, AttemptState::kFaulted, effects);
    shard.gave_up.push_back(device.row.id);
    ++shard.row.faults;
    shard.row.error = in.row.detail;
    Lost(job, shard, effects);
    return {id, true, ""};
  }
  if (in.row.result.outcome == job::Outcome::kGivenBack) {
    // Nobody's fault. But who would give it back again and again should not get it each time.
    PauseAfterFault(job, device.row.id);
    Abandon(found, AttemptState::kGivenBack, effects);
    Requeue(job, shard);
    return {id, true, ""};
  }
  job.pauses.erase(device.row.id);
  EraseLease(device, id);
  attempt.row.state = AttemptState::kSubmitted;
  attempt.result_key = in.row.result.Key();
  attempt.succeeded = in.row.result.succeeded();
  shard.row.error = attempt.succeeded ? "" : WithDetail(Describe(in.row.result), in.row.detail);
  if (attempt.succeeded && LooksInside(job)) {
    attempt.outputs = in.row.result.outputs;
    effects->compare.push_back(ComparisonOf(shard, attempt));
  } else {
    attempt.counted = true;
  }
  const AttemptRow submitted = attempt.row;
  if (attempt.counted && Decide(job, shard, effects)) return {id, true, ""};
  effects->rows.attempts.push_back(submitted);
  return {id, true, ""};
}

Verdict Grid::Refuse(Device& device, AttemptId attempt, std::string reason, Effects* effects) {
  ++device.reputation.refused;
  dirty_devices_.insert(device.row.id);
  LogRefusal(device, attempt, reason, effects);
  return {attempt, false, std::move(reason)};
}

void Grid::Blame(Device& device, Fault fault) {
  Penalise(&device.reputation, fault, meta_.time_ms);
  dirty_devices_.insert(device.row.id);
}

Grid::Tally Grid::Count(const Job& job, const Shard& shard) {
  // Each of these attempts is another party's (FindOpen sees to it), so each is one vote. Of
  // results with as many votes the one of the oldest lease counts.
  const auto has_vote = [](const Attempt& a) { return a.counted && !a.row.trusted; };
  Tally tally;
  for (const Attempt& attempt : shard.attempts) {
    if (!has_vote(attempt)) continue;
    ++tally.counted;
    const auto agreeing = static_cast<uint32_t>(
        std::count_if(shard.attempts.begin(), shard.attempts.end(),
                      [&](const Attempt& a) { return has_vote(a) && Agree(job, attempt, a); }));
    if (agreeing <= tally.votes) continue;
    tally.votes = agreeing;
    tally.winner = &attempt;
  }
  return tally;
}

bool Grid::Decide(Job& job, Shard& shard, Effects* effects) {
  const bool is_accepted = shard.row.audit != AuditState::kNone;
  if (is_accepted && !AllCount(shard)) return false;
  if (const Attempt* truth = CheckedOf(shard)) {
    if (!is_accepted && AwaitProbe(job, shard, *truth, effects)) return false;
    Conclude(job, shard, *truth, effects);
    return true;
  }
  if (is_accepted) return false;
  const auto [winner, votes, counted] = Count(job, shard);
  const uint32_t quorum = QuorumOf(job, *winner);
  if (votes >= quorum) {
    if (winner->succeeded && AwaitAudit(job, shard, effects)) return false;
    Conclude(job, shard, *winner, effects);
    return true;
  }
  // Each other attempt may still join the largest group; ask for more only when that cannot be
  // enough.
  const uint32_t needed = counted + quorum - votes;
  if (needed <= shard.row.replicas) return false;
  if (needed > job::JobSpec::kMaxReplicas) {
    FinishShard(job, shard, ShardState::kFailed,
                WithDetail(fmt::format("no {} of {} results agree; `corpgrid job show` lists them",
                                       quorum, counted),
                           shard.row.error),
                effects);
    return true;
  }
  Close(job, shard);
  shard.row.replicas = needed;
  effects->rows.shards.push_back(shard.row);
  Requeue(job, shard);
  return false;
}

void Grid::Conclude(Job& job, Shard& shard, const Attempt& winner, Effects* effects) {
  Close(job, shard);
  if (winner.row.trusted && shard.row.audit == AuditState::kWanted) {
    Audited(job, shard, winner, effects);
  }
  shard.row.audit = AuditState::kNone;
  const bool succeeded = winner.succeeded;
  for (Attempt& attempt : shard.attempts) {
    if (!attempt.counted) {
      EndAttempt(attempt, AttemptState::kCancelled, effects);
      continue;
    }
    Judge(job, winner, attempt);
    if (!Agree(job, winner, attempt)) {
      LogDisagreement(attempt.row, effects);
      EndAttempt(attempt, AttemptState::kDisagreed, effects);
      continue;
    }
    EndAttempt(attempt, AttemptState::kAgreed, effects);
    if (&attempt == &winner && succeeded) {
      effects->keep.emplace_back(attempt.row.id, job.row.id);
    } else {
      effects->drop.push_back(attempt.row.id);
    }
  }
  if (succeeded) {
    shard.row.winner = winner.row.id;
    if (winner.row.trusted) ++job.row.progress.checked;
    for (const DeviceId id : shard.gave_up) {
      const bool proved_itself =
          std::any_of(shard.attempts.begin(), shard.attempts.end(), [&](const Attempt& a) {
            return a.row.device == id && a.row.state == AttemptState::kAgreed;
          });
      if (!proved_itself) Blame(devices_.at(id), Fault::kCrash);
    }
    FinishShard(job, shard, ShardState::kDone, "", effects);
    return;
  }
  shard.attempts.clear();
  if (++shard.row.tries > job.spec->retries) {
    FinishShard(job, shard, ShardState::kFailed, shard.row.error, effects);
    return;
  }
  // What it failed with may be in the state that it saved.
  ForgetStates(shard, effects);
  shard.row.replicas = job.spec->redundancy.replicas;
  effects->rows.shards.push_back(shard.row);
  // What made it fail may pass: a disk that is full, a server that is away.
  const int64_t delay_ms = kRetryDelayMs << std::min(shard.row.tries - 1, 16u);
  retries_.emplace(meta_.time_ms + std::min(delay_ms, kMaxRetryDelayMs), shard.row.id);
  UpdateQueue(job);
}

void Grid::Requeue(Job& job, const Shard& shard) {
  Reopen(job, shard);
  UpdateQueue(job);
  AddNewWork(job);
}

void Grid::Lost(Job& job, Shard& shard, Effects* effects) {
  if (shard.row.audit != AuditState::kNone) {  // A result of it was accepted already.
    effects->rows.shards.push_back(shard.row);
    Requeue(job, shard);
  } else if (shard.row.faults >= kMaxFaults) {
    FinishShard(
        job, shard, ShardState::kFailed,
        fmt::format("{} devices gave it up; the last said: {}", shard.row.faults, shard.row.error),
        effects);
  } else if (shard.row.expired >= kMaxExpired) {
    FinishShard(job, shard, ShardState::kFailed,
                fmt::format("{} devices fell silent while running it", shard.row.expired), effects);
  } else {
    effects->rows.shards.push_back(shard.row);
    Requeue(job, shard);
  }
}

void Grid::FinishShard(Job& job, Shard& shard, ShardState state, std::string error,
                       Effects* effects) {
  Close(job, shard);
  UpdateQueue(job);
  ForgetStates(shard, effects);
  for (Attempt& attempt : shard.attempts) {
    if (IsLive(attempt.row.state)) {
      EndAttempt(attempt, attempt.result_key ? AttemptState::kUndecided : AttemptState::kCancelled,
                 effects);
    }
  }
  shard.row.state = state;
  shard.row.error = std::move(error);
  effects->rows.shards.push_back(shard.row);
  JobProgressRow& progress = job.row.progress;
  dirty_jobs_.insert(progress.id);
  if (state == ShardState::kFailed) {
    ++progress.failed;
    // One shard that cannot be computed leaves the job without its result: more work on it would be
    // wasted.
    std::string why = fmt::format("shard {} failed: {}", shard.row.id.index, shard.row.error);
    job.live.erase(shard.row.id.index);
    EndJob(job, JobState::kFailed, std::move(why), effects);
    return;
  }
  job.live.erase(shard.row.id.index);
  if (++progress.done == job.spec->shards) {
    EndJob(job, JobState::kDone, "", effects);
  } else {
    ReleaseSoon(job);
  }
}

}  // namespace corpgrid::core
