// Who runs what, and until when.

#include <algorithm>
#include <cstring>
#include <utility>

#include "core/grid.h"
#include "fmt/format.h"

namespace corpgrid::core {
namespace {

constexpr size_t kTokenBytes = 15;  // what fits into a string itself

// Unguessable without the seed, and different for every attempt.
std::string LeaseToken(const std::array<uint8_t, 32>& seed, AttemptId attempt) {
  const crypto::Hash hash = crypto::KeyedBlake3(seed, attempt.ToString());
  return std::string(hash.Raw().substr(0, kTokenBytes));
}

}  // namespace

Reply Grid::Do(const Poll& c, Effects* effects) {
  Device* device = FindDevice(c.device);
  if (!device) return absl::UnauthenticatedError("unknown device: register first");
  Hear(*device);
  device->condition = c.condition;
  for (const AttemptId id : device->leases) {
    Found found = FindAttempt(id);
    Extend(*found.attempt);
    if (std::find(c.held.begin(), c.held.end(), id) != c.held.end()) continue;
    effects->leases.push_back(LeaseOf(*found.job, *found.shard, *found.attempt));
  }
  const uint32_t again = static_cast<uint32_t>(effects->leases.size());
  device->wants = std::min(c.max_shards, kMaxPollShards);
  device->wants -= std::min(device->wants, again);
  Match(*device, effects);
  if (effects->leases.empty() && device->wants > 0) {
    Wait(*device);
  } else {
    StopWaiting(*device);
  }
  return absl::OkStatus();
}

Reply Grid::Do(const StopPolling& c, Effects*) {
  if (Device* device = FindDevice(c.device)) StopWaiting(*device);
  return absl::OkStatus();
}

Reply Grid::Do(const Heartbeat& c, Effects* effects) {
  Device* device = FindDevice(c.device);
  if (!device) return absl::UnauthenticatedError("unknown device: register first");
  Hear(*device);
  const bool took_work = TakesWork(*device);
  device->condition = c.condition;
  if (TakesWork(*device) != took_work && device->wants > 0) Offer(*device, effects);
  std::vector<Stop> stops;
  for (const AttemptProgress& progress : c.attempts) {
    const Found found = FindAttempt(progress.attempt);
    if (!found.attempt || found.attempt->row.device != c.device) {
      stops.push_back({progress.attempt, "its lease ran out, or the job has ended", false});
      continue;
    }
    found.attempt->fraction = std::clamp(progress.fraction, -1.0, 1.0);
    if (found.attempt->row.state != AttemptState::kRunning) continue;
    Extend(*found.attempt);
    std::string give_back = WhyGiveBack(*found.attempt, c.condition);
    if (!give_back.empty()) stops.push_back({progress.attempt, std::move(give_back), true});
  }
  return stops;
}

Reply Grid::Do(const Tick&, Effects* effects) {
  for (const AttemptId id : expiries_.TakeDue(meta_.time_ms)) {
    const Found found = FindAttempt(id);
    if (!found.attempt || found.attempt->row.state != AttemptState::kRunning) continue;
    if (found.attempt->expires_ms > meta_.time_ms) {
      expiries_.Add(found.attempt->expires_ms, id);
      continue;
    }
    Device& device = devices_.at(found.attempt->row.device);
    const bool was_heard = found.attempt->expires_ms == found.attempt->latest_ms;
    ++device.reputation.expired;
    Blame(device, was_heard ? Fault::kTimeout : Fault::kHeartbeatLoss);
    Abandon(found, AttemptState::kExpired, effects);
    ++found.shard->row.expired;
    Lost(*found.job, *found.shard, effects);
  }
  while (!retries_.empty() && retries_.begin()->first <= meta_.time_ms) {
    const ShardId id = retries_.extract(retries_.begin()).mapped();
    Job* job = FindJob(id.job);
    if (!job) continue;
    if (const auto shard = job->live.find(id.index); shard != job->live.end()) {
      Requeue(*job, shard->second);
    }
  }
  while (!pause_ends_.empty() && pause_ends_.begin()->first <= meta_.time_ms) {
    const Job* job = FindJob(pause_ends_.extract(pause_ends_.begin()).mapped());
    if (job) AddNewWork(*job);
  }
  EndLateJobs(effects);
  DropLateAudits(effects);
  Release(effects);
  ForgetSilentDevices();
  hosting_.Tick(meta_.time_ms);
  SettleProjects();
  Preempt();
  RemoveOld(effects);
  DeleteSome(effects);
  return absl::OkStatus();
}

int64_t Grid::PausedUntilMs(const Job& job, DeviceId device) const {
  const auto it = job.pauses.find(device);
  return it == job.pauses.end() ? 0 : it->second.until_ms;
}

void Grid::PauseAfterFault(Job& job, DeviceId device) {
  Pause& pause = job.pauses[device];
  const int64_t length_ms = kFaultPauseMs << std::min(pause.faults_in_a_row++, 16);
  pause.until_ms = meta_.time_ms + std::min(length_ms, kMaxFaultPauseMs);
  pause_ends_.emplace(pause.until_ms, job.row.id);
}

void Grid::LeaseFrom(Job& job, Device& device, uint32_t limit, Effects* effects) {
  const uint64_t attempts_before = meta_.next_attempt;
  const uint64_t room = Room(job.project->row, job.project->used, Amounts::Of(job.want));
  limit = static_cast<uint32_t>(std::min<uint64_t>(limit, room));
  while (limit-- > 0 && device.leases.size() < kMaxLeasesPerDevice) {
    if (const auto open = FindOpen(job, device); open != job.live.end()) {
      LeaseShard(job, open->second, device, effects);
      continue;
    }
    if (FreshFor(job, device) == 0) break;
    const uint32_t index = job.row.progress.next_shard++;
    Shard& shard = job.live.emplace_hint(job.live.end(), index, Shard())->second;
    shard.row.id = {job.row.id, index};
    if (std::exchange(job.row.progress.state, JobState::kRunning) == JobState::kQueued) {
      --job.project->queued;
    }
    dirty_jobs_.insert(job.row.id);
    LeaseShard(job, shard, device, effects);
  }
  CountGot(*job.project, job.want, meta_.next_attempt - attempts_before);
  UpdateQueue(job);
}

void Grid::LeaseShard(Job& job, Shard& shard, Device& device, Effects* effects) {
  Attempt attempt;
  attempt.row.id = AttemptId{meta_.next_attempt++};
  attempt.row.shard = shard.row.id;
  attempt.row.device = device.row.id;
  attempt.row.owner = device.row.owner;
  attempt.row.lease_token = LeaseToken(seed_, attempt.row.id);
  attempt.row.try_number = shard.row.tries;
  attempt.row.trusted = device.row.trusted;
  attempt.party = PartyOf(job, device);
  attempt.suspect = !shard.row.died_on.empty();
  if (attempt.suspect) ++device.suspects;
  StartLease(job, device, attempt);
  attempts_[attempt.row.id] = {&job, &shard};
  CountRunning(job, 1);
  job.last_lease_ms = meta_.time_ms;
  device.leases.push_back(attempt.row.id);
  device.use = UseNow(device) + 1;
  device.use_ms = meta_.time_ms;
  --device.wants;

  Close(job, shard);
  const uint32_t replicas = ReplicasOn(job, device);
  if (shard.attempts.empty()) {
    shard.row.replicas = replicas;
  } else if (shard.row.audit == AuditState::kNone) {
    shard.row.replicas = std::max(shard.row.replicas, replicas);
  } else if (shard.row.audit == AuditState::kHeld) {
    shard.row.audit = AuditState::kWanted;
  }
  effects->rows.shards.push_back(shard.row);
  effects->rows.attempts.push_back(attempt.row);
  effects->leases.push_back(LeaseOf(job, shard, attempt));
  shard.attempts.push_back(std::move(attempt));
  Reopen(job, shard);
}

uint32_t Grid::ReplicasOn(const Job& job, const Device& device) const {
  if (device.row.trusted) return 1;
  uint32_t replicas = job.spec->redundancy.replicas, quorum = job.spec->redundancy.quorum;
  if (job.promises()) {
    if (MayRunAlone(device.reputation, meta_.time_ms)) return 1;
    replicas = quorum = kQuorumOfPromises;
  }
  // One result that nobody checks says nothing of who gave it, and more of them nothing more.
  if (!config_.extra_replicas || quorum == 1) return replicas;
  const int extra = ExtraReplicas(TierOf(device.reputation, meta_.time_ms));
  return std::clamp<uint32_t>(replicas + extra, quorum,
                              std::max(replicas, job::JobSpec::kMaxReplicas));
}

void Grid::StartLease(const Job& job, const Device& device, Attempt& attempt) {
  const Tier tier = TierOf(device.reputation, meta_.time_ms);
  const bool trusted = tier != Tier::kBad && tier != Tier::kUnproven;
  // A device that is heard but never answers would otherwise hold a shard for ever.
  attempt.latest_ms =
      meta_.time_ms + job.spec->limits.wall_ms + (trusted ? kMaxQueuedMs : kMaxQueuedUnprovenMs);
  Extend(attempt);
  expiries_.Add(attempt.expires_ms, attempt.row.id);
}

void Grid::Extend(Attempt& attempt) {
  attempt.expires_ms = std::min(meta_.time_ms + config_.lease_ttl_ms(), attempt.latest_ms);
}

void Grid::EndAttempt(Attempt& attempt, AttemptState state, Effects* effects) {
  EraseLease(devices_.at(attempt.row.device), attempt.row.id);
  attempt.row.state = state;
  attempts_.erase(attempt.row.id);
  effects->rows.attempts.push_back(attempt.row);
  effects->ended.push_back(attempt.row.id);
  if (state == AttemptState::kUndecided) {
    effects->keep.emplace_back(attempt.row.id, attempt.row.shard.job);
  } else if (state != AttemptState::kAgreed) {
    effects->drop.push_back(attempt.row.id);
  }
  DropUnnamedState(attempt.row, effects);
  Remember(attempt);
}

void Grid::EraseLease(Device& device, AttemptId attempt) {
  const auto it = std::lower_bound(device.leases.begin(), device.leases.end(), attempt);
  if (it == device.leases.end() || *it != attempt) return;
  device.leases.erase(it);
  if (FindAttempt(attempt).attempt->suspect) --device.suspects;
  CountRunning(*attempts_.at(attempt).job, -1);
}

void Grid::Abandon(const Found& found, AttemptState state, Effects* effects) {
  Close(*found.job, *found.shard);
  EndAttempt(*found.attempt, state, effects);
  std::vector<Attempt>& attempts = found.shard->attempts;
  attempts.erase(attempts.begin() + (found.attempt - attempts.data()));
}

void Grid::Remember(const Attempt& attempt) {
  const AttemptState state = attempt.row.state;
  remembered_[attempt.row.id] = {.device = attempt.row.device,
                                 .token = attempt.row.lease_token,
                                 .was_accepted = attempt.result_key ||
                                                 state == AttemptState::kFaulted ||
                                                 state == AttemptState::kGivenBack,
                                 .expired = state == AttemptState::kExpired,
                                 .shard = attempt.row.shard};
  remembered_order_.push_back(attempt.row.id);
  if (remembered_order_.size() > kMaxRemembered) {
    remembered_.erase(remembered_order_.front());
    remembered_order_.pop_front();
  }
}

std::vector<Lease> Grid::LiveLeases() const {
  std::vector<Lease> leases;
  for (const auto& [id, job] : jobs_) {
    for (const auto& [index, shard] : job.live) {
      for (const Attempt& attempt : shard.attempts) {
        leases.push_back(LeaseOf(job, shard, attempt));
      }
    }
  }
  return leases;
}

}  // namespace corpgrid::core
