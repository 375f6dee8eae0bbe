// What reached the store: each row against what is true and against the rows before it.

#include <algorithm>
#include <cstdlib>
#include <utility>

#include "fmt/format.h"
#include "sim/checker.h"

namespace corpgrid::sim {
namespace {

// Beyond what the core remembers of ended attempts, so that it cannot know more than the checker.
constexpr size_t kMaxRetired = core::Grid::kMaxRemembered + 4096;

}  // namespace

void Checker::Landed(const core::WriteBatch& batch) {
  unknown_.clear();  // This commit has taken their place.
  last_attempt_ = meta_.next_attempt - 1;
  if (batch.meta) LandedMeta(*batch.meta);
  LandedAudit(batch);
  LandedRemovals(batch);
  for (const core::DeviceRow& row : batch.devices) LandedDevice(row);
  for (const core::JobRow& row : batch.jobs) LandedJob(row);
  for (const core::AttemptRow& row : batch.attempts) LandedAttempt(row, batch);
  for (const core::ShardRow& row : batch.shards) LandedShard(row);
  for (const core::JobProgressRow& row : batch.job_progress) LandedProgress(row);
  LandedProjects(batch);
  LandedDeletions(batch);
  CheckFollows(batch);
  for (const core::ResultRow& row : batch.results) {
    if (!attempts_.contains(row.attempt)) {
      Fail(fmt::format("a result for attempt {}, which is not in the store", row.attempt.value));
    }
  }
}

void Checker::Unknown(const core::WriteBatch& batch) {
  unknown_.push_back({batch, applied_ ? *applied_ : std::vector<Request>{}});
}

void Checker::LandedMeta(const core::MetaRow& row) {
  if (row.batch != meta_.batch + 1) {
    Fail(fmt::format("batch {} was committed after {}", row.batch, meta_.batch));
  }
  if (row.time_ms < meta_.time_ms) {
    Fail(fmt::format("grid time went from {} to {}", meta_.time_ms, row.time_ms));
  }
  if (row.next_device < meta_.next_device || row.next_job < meta_.next_job ||
      row.next_attempt < meta_.next_attempt) {
    Fail("numbers that were given out are going to be given out again");
  }
  meta_ = row;
  digest_->Add(row.batch);
  digest_->Add(static_cast<uint64_t>(row.time_ms));
}

void Checker::LandedDevice(const core::DeviceRow& row) {
  const auto agent = agent_by_key_.find(row.public_key);
  if (agent == agent_by_key_.end()) {
    Fail(fmt::format("device {} is nobody's", row.id.value));
    return;
  }
  DeviceFact& device = devices_[row.id];
  device.agent = agent->second;
  if (device.row.id && device.row.public_key != row.public_key) {
    Fail(fmt::format("device {} became another one", row.id.value));
  }
  if (row.owner != world_->owners()[world_->devices()[device.agent].owner].name) {
    Fail(fmt::format("device {} is not {}'s", row.id.value, row.owner));
  }
  if (!device.row.id) ++joined_[world_->devices()[device.agent].owner];
  device.row = row;
  digest_->Add(row.id.value << 32 | device.agent);
}

void Checker::LandedJob(const core::JobRow& row) {
  JobTruth* truth = world_->FindKey(row.idempotency_key);
  const bool anew = truth && truth->id && truth->id != row.id && IsRemoved(truth->id);
  if (!truth || (truth->id && truth->id != row.id && !anew)) {
    Fail(fmt::format("{} became job {} as well", row.idempotency_key, row.id.value));
    return;
  }
  if (jobs_.contains(row.id)) return;
  if (row.id.value >= meta_.next_job) Fail(fmt::format("job {} is not counted", row.id.value));
  world_->Name(truth, row.id);
  if (anew) truth->cancel_asked = false;
  JobFact& job = jobs_[row.id];
  job.truth = static_cast<uint32_t>(truth - world_->jobs().data());
  job.submitted_ms = row.submitted_ms;
  if (row.submitted_ms > meta_.time_ms) {
    Fail(fmt::format("job {} was submitted in the future", row.id.value));
  }
  const int64_t deadline_ms = truth->spec->deadline_ms;
  if (deadline_ms > 0) due_.emplace(row.submitted_ms + deadline_ms, row.id);
  job.decided.resize(truth->spec->shards);
  ++unfinished_jobs_;
  digest_->Add(row.id.value);
}

Checker::AttemptFact* Checker::NewAttempt(const core::AttemptRow& row, JobFact* job) {
  if (row.id.value <= last_attempt_ || row.id.value >= meta_.next_attempt) {
    Fail(fmt::format("attempt {} has a number that is not its own", row.id.value));
  }
  const auto device = devices_.find(row.device);
  if (device == devices_.end() || !device->second.row.id || HasEnded(job->state) ||
      row.shard.index >= job->decided.size() || job->decided[row.shard.index]) {
    Fail(fmt::format("attempt {} of a device or a shard that is not there", row.id.value));
    return nullptr;
  }
  if (row.owner != device->second.row.owner) {
    Fail(fmt::format("attempt {} is under the name of {}", row.id.value, row.owner));
  }
  if (!resurrecting_) CheckTrusted(row, device->second);
  ShardFact& shard = job->shards[row.shard.index];
  const JobTruth& truth = TruthOf(*job);
  for (const AttemptId id : shard.live) {
    const AttemptFact& other = attempts_.at(id);
    if (row.trusted || other.trusted) continue;  // These do not vote.
    if (other.try_number == row.try_number && IsLive(other.state) &&
        PartyOf(truth, other.device) == PartyOf(truth, row.device) && IsLive(row.state)) {
      Fail(fmt::format("attempts {} and {} of a shard are both of {}", id.value, row.id.value,
                       row.owner));
    }
  }
  AttemptFact& fact = attempts_[row.id];
  fact.shard = row.shard;
  fact.device = row.device;
  fact.token = row.lease_token;
  fact.try_number = row.try_number;
  fact.trusted = row.trusted;
  fact.start_ms = fact.heard_ms = meta_.time_ms;
  fact.start_round = rounds_;
  device->second.running.push_back(row.id);
  shard.live.push_back(row.id);
  ++job->live_attempts;
  ++live_attempts_;
  deadlines_.push({DeadlineMs(fact, core::Grid::kMaxQueuedUnprovenMs), row.id});
  return &fact;
}

void Checker::LandedAttempt(const core::AttemptRow& row, const core::WriteBatch& batch) {
  const auto job = jobs_.find(row.shard.job);
  if (job == jobs_.end()) {
    Fail(fmt::format("attempt {} of a job that is not there", row.id.value));
    return;
  }
  const auto known = attempts_.find(row.id);
  AttemptFact* fact = known == attempts_.end() ? NewAttempt(row, &job->second) : &known->second;
  if (!fact) return;
  digest_->Add(row.id.value << 8 | static_cast<uint64_t>(row.state));
  digest_->Add(row.shard.index);
  digest_->Add(row.device.value);
  if (fact->shard != row.shard || fact->device != row.device || fact->token != row.lease_token) {
    Fail(fmt::format("attempt {} became another one", row.id.value));
    return;
  }
  const core::AttemptState before = std::exchange(fact->state, row.state);
  if (before == row.state) return;
  if (before == core::AttemptState::kRunning) {
    fact->left_round = rounds_;
    std::erase(devices_.at(row.device).running, row.id);
  }
  if (!IsLive(before) || row.state == core::AttemptState::kRunning) {
    Fail(fmt::format("attempt {} went from state {} to {}", row.id.value, static_cast<int>(before),
                     static_cast<int>(row.state)));
    return;
  }
  if (!fact->vote) {
    const auto result = std::find_if(batch.results.begin(), batch.results.end(),
                                     [&](const auto& r) { return r.attempt == row.id; });
    LandedVote(result == batch.results.end() ? nullptr : &*result, row.id, fact, &job->second);
  }
  ShardFact& shard = job->second.shards[row.shard.index];
  const int64_t early_ms = std::min(fact->heard_ms + config_.lease_ttl_ms(),
                                    DeadlineMs(*fact, core::Grid::kMaxQueuedUnprovenMs)) -
                           meta_.time_ms;
  const bool died = row.state == core::AttemptState::kDied;
  if (row.state == core::AttemptState::kExpired || died) ++shard.expired;
  if (died && !shard.died.contains(row.device)) {
    Fail(fmt::format("attempt {} ended by a death that its device did not tell of", row.id.value));
  }
  // An audit fails nothing: it is dropped, or had however long that takes.
  if (shard.expired > core::Grid::kMaxExpired && shard.audit == core::AuditState::kNone) {
    Fail(fmt::format("shard {} of job {} goes on after {} leases were lost", row.shard.index,
                     row.shard.job.value, shard.expired));
  }
  if (row.state == core::AttemptState::kExpired && early_ms > 0 && !resurrecting_) {
    Fail(fmt::format("the lease of attempt {} ended {} ms early", row.id.value, early_ms));
  }
  if (row.state == core::AttemptState::kDisagreed && fact->trusted) {
    Fail(fmt::format("attempt {} was outvoted, but is trusted", row.id.value));
  }
  if (row.state == core::AttemptState::kFaulted) ++shard.faults;
  if (row.state == core::AttemptState::kAgreed) shard.agreed.push_back(row.id);
  if (IsLive(row.state)) return;
  fact->ended_round = rounds_;
  fact->ended_load = loads_;
  std::erase(shard.live, row.id);
  --job->second.live_attempts;
  --live_attempts_;
  Retire(row.id);
}

void Checker::LandedShard(const core::ShardRow& row) {
  const auto it = jobs_.find(row.id.job);
  if (it == jobs_.end() || row.id.index >= it->second.decided.size()) {
    Fail(fmt::format("shard {} of a job that is not there", row.id.index));
    return;
  }
  JobFact& job = it->second;
  digest_->Add(static_cast<uint64_t>(row.id.index) << 8 | static_cast<uint64_t>(row.state));
  digest_->Add(row.winner.value);
  if (job.decided[row.id.index]) {
    Fail(fmt::format("shard {} of job {} was decided and changes", row.id.index, row.id.job.value));
    return;
  }
  ShardFact& shard = job.shards[row.id.index];
  for (; shard.tries < row.tries; ++shard.tries) {
    CheckQuorum(job, &shard, row, shard.tries, false);
    shard.accepted = {};
  }
  shard.audit = row.audit;
  const bool is_audit =
      row.audit == core::AuditState::kWanted || row.audit == core::AuditState::kHeld;
  if (is_audit && !shard.accepted) shard.accepted = Favourite(shard);
  if (row.state != core::ShardState::kRunning) Decided(&job, &shard, row);
}

void Checker::CheckQuorum(const JobFact& job, ShardFact* shard, const core::ShardRow& row,
                          uint32_t try_number, bool success) {
  const JobTruth& truth = TruthOf(job);
  std::vector<uint64_t> parties;
  std::optional<uint64_t> vote;
  bool trusted = false;
  shard->votes = 0;  // The next try begins without any.
  for (const AttemptId id : shard->agreed) {
    const AttemptFact& fact = attempts_.at(id);
    if (fact.try_number != try_number) continue;
    if (fact.success != success) {
      Fail(fmt::format("shard {} of job {} took a failure for a success, or the reverse",
                       row.id.index, row.id.job.value));
    }
    const auto winner = success ? attempts_.find(row.winner) : attempts_.end();
    const bool is_far =
        winner != attempts_.end() && std::abs(winner->second.rounding - fact.rounding) > 1;
    if ((vote && vote != fact.vote) || is_far)
      Fail(fmt::format("attempt {} agreed with another result", id.value));
    vote = fact.vote;
    trusted |= fact.trusted;
    const uint64_t party = PartyOf(truth, fact.device);
    if (std::find(parties.begin(), parties.end(), party) == parties.end()) parties.push_back(party);
  }
  if (!trusted && parties.size() < truth.spec->redundancy.quorum) {
    Fail(fmt::format("shard {} of job {} was decided by {} of {} different owners", row.id.index,
                     row.id.job.value, parties.size(), truth.spec->redundancy.quorum));
  }
}

// A lie may win when a quorum of owners told it, and only they.
void Checker::CheckLiars(const ShardFact& shard, const core::ShardRow& row) {
  ++lies_accepted_;
  for (const AttemptId id : shard.agreed) {
    const AttemptFact& fact = attempts_.at(id);
    const uint32_t agent = devices_.at(fact.device).agent;
    const Owner& owner = world_->owners()[world_->devices()[agent].owner];
    if (fact.try_number == row.tries && !owner.lies) {
      Fail(fmt::format("a lie about shard {} of job {} won with the vote of {}, who is honest",
                       row.id.index, row.id.job.value, owner.name));
    }
  }
}

void Checker::Decided(JobFact* job, ShardFact* shard, const core::ShardRow& row) {
  const JobTruth& truth = TruthOf(*job);
  job->decided[row.id.index] = true;
  if (row.state == core::ShardState::kDone) {
    ++job->done;
    ++shards_done_;
    CheckQuorum(*job, shard, row, row.tries, true);
    LandedAudited(job, *shard, row);
    const auto winner = attempts_.find(row.winner);
    if (winner == attempts_.end() || winner->second.state != core::AttemptState::kAgreed ||
        winner->second.try_number != row.tries || winner->second.shard != row.id) {
      Fail(fmt::format("attempt {} won a shard without agreeing", row.winner.value));
    } else {
      winner->second.winner = true;
      const bool lie = truth.nature == Nature::kSound &&
                       *winner->second.vote != World::Vote(world_->Truth(truth, row.id, 0));
      if (lie) ++job->wrong;
      if (lie) CheckLiars(*shard, row);
    }
  } else {
    ++job->failed;
    // Failures that quorums agreed on, over all tries; or a bound of the core's was reached.
    const job::Redundancy& redundancy = truth.spec->redundancy;
    std::set<uint64_t> parties;
    for (const DeviceId id : row.died_on) {
      if (shard->died.contains(id)) parties.insert(PartyOf(truth, id));
    }
    const bool explained =
        row.tries == truth.spec->retries + 1 || shard->faults >= core::Grid::kMaxFaults ||
        shard->expired >= core::Grid::kMaxExpired || parties.size() >= core::Grid::kMaxDeaths ||
        shard->votes + redundancy.quorum > job::JobSpec::kMaxReplicas;
    if (!explained) {
      Fail(fmt::format("shard {} of job {} failed for no reason: {}", row.id.index,
                       row.id.job.value, row.error));
    }
  }
  if (!shard->live.empty()) {
    Fail(fmt::format("shard {} of job {} was decided while {} attempts go on", row.id.index,
                     row.id.job.value, shard->live.size()));
  }
  job->shards.erase(row.id.index);
}

void Checker::LandedProgress(const core::JobProgressRow& row) {
  const auto it = jobs_.find(row.id);
  if (it == jobs_.end()) {
    Fail(fmt::format("progress of job {}, which is not there", row.id.value));
    return;
  }
  JobFact& job = it->second;
  const JobTruth& truth = TruthOf(job);
  digest_->Add(row.id.value << 8 | static_cast<uint64_t>(row.state));
  digest_->Add(static_cast<uint64_t>(row.done) << 32 | row.next_shard);
  if (row.state == core::JobState::kRemoved) return;  // LandedRemovals has heard of it.
  if (HasEnded(job.state)) Fail(fmt::format("job {} ended and changes", row.id.value));
  if (row.done != job.done || row.next_shard < job.next_shard ||
      row.next_shard > truth.spec->shards) {
    Fail(fmt::format("job {} has {} shards done, not {}", row.id.value, job.done, row.done));
  }
  job.next_shard = row.next_shard;
  job.state = row.state;
  CheckCounts(&job, row);
  if (!HasEnded(row.state)) return;
  const bool right =
      (row.state == core::JobState::kDone && job.done == truth.spec->shards) ||
      (row.state == core::JobState::kFailed && (job.failed > 0 || MayFailWhole(job))) ||
      (row.state == core::JobState::kCancelled && truth.cancel_asked);
  if (!right) {
    Fail(
        fmt::format("job {} ended as {} for no reason", row.id.value, static_cast<int>(row.state)));
  }
  if (job.live_attempts != 0) {
    Fail(fmt::format("job {} ended while {} attempts go on", row.id.value, job.live_attempts));
  }
  if (row.finished_ms > meta_.time_ms || row.finished_ms < job.submitted_ms) {
    Fail(fmt::format("job {} ended at a time that is none", row.id.value));
  }
  job.finished_ms = row.finished_ms;
  job.shards.clear();
  job.decided = {};
  --unfinished_jobs_;
  ++jobs_ended_[static_cast<size_t>(row.state)];
}

// Whether the shard of an attempt that has ended may still be decided by it.
bool Checker::MayCount(AttemptId id) const {
  const ShardId shard = attempts_.at(id).shard;
  const auto job = jobs_.find(shard.job);
  if (job == jobs_.end() || !job->second.shards.contains(shard.index)) return false;
  const ShardFact& fact = job->second.shards.at(shard.index);
  return fact.accepted == id ||
         std::find(fact.agreed.begin(), fact.agreed.end(), id) != fact.agreed.end();
}

// Two for one, so that those which stayed do not pile up once they may go.
void Checker::Retire(AttemptId id) {
  retired_.push_back(id);
  for (int i = 0; i < 2 && retired_.size() > kMaxRetired; ++i) {
    const AttemptId oldest = retired_.front();
    retired_.pop_front();
    if (MayCount(oldest)) {
      retired_.push_back(oldest);
    } else {
      attempts_.erase(oldest);
    }
  }
}

}  // namespace corpgrid::sim
