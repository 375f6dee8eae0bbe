// Who runs what, and until when.

#include <algorithm>
#include <cstring>
#include <utility>

#include "core/grid.h"
#include "fmt/format.h"

namespace corpgrid::core {
namespace {

constexpr size_t kTokenBytes = 16;

// Unguessable without the seed, and different for every attempt.
std::string LeaseToken(const std::array<uint8_t, 32>& seed, AttemptId attempt) {
  const crypto::Hash hash = crypto::KeyedBlake3(seed, attempt.ToString());
  return std::string(hash.Raw().substr(0, kTokenBytes));
}

}  // namespace

Reply Grid::Do(const Poll& c, Effects* effects) {
  Device* device = FindDevice(c.device);
  if (!device) return absl::UnauthenticatedError("unknown device: register first");
  device->last_seen_ms = meta_.time_ms;
  device->power = c.power;
  for (const AttemptId id : device->leases) {
    Found found = FindAttempt(id);
    Extend(*found.attempt);
    if (std::find(c.held.begin(), c.held.end(), id) != c.held.end()) continue;
    effects->leases.push_back(
        {.attempt = id,
         .shard = found.attempt->row.shard,
         .device = c.device,
         .token = found.attempt->row.lease_token,
         .checkpoint = StateFor(*found.job, *found.shard, found.attempt->row)});
  }
  const uint32_t again = static_cast<uint32_t>(effects->leases.size());
  device->wants = std::min(c.max_shards, kMaxPollShards);
  device->wants -= std::min(device->wants, again);
  Match(*device, effects);
  if (!effects->leases.empty() || c.max_shards == 0) {
    device->wants = 0;
  } else if (std::find(waiting_.begin(), waiting_.end(), c.device) == waiting_.end()) {
    waiting_.push_back(c.device);
  }
  return absl::OkStatus();
}

Reply Grid::Do(const StopPolling& c, Effects*) {
  if (Device* device = FindDevice(c.device)) device->wants = 0;
  std::erase(waiting_, c.device);
  return absl::OkStatus();
}

Reply Grid::Do(const Heartbeat& c, Effects*) {
  Device* device = FindDevice(c.device);
  if (!device) return absl::UnauthenticatedError("unknown device: register first");
  device->last_seen_ms = meta_.time_ms;
  if (device->power == Power::kBattery && c.power != Power::kBattery) work_added_ = true;
  device->power = c.power;
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
    if (c.power == Power::kBattery) {
      stops.push_back({progress.attempt, "the device went on battery", true});
    }
  }
  return stops;
}

Reply Grid::Do(const Tick&, Effects* effects) {
  while (!expiries_.empty() && expiries_.top().first <= meta_.time_ms) {
    const AttemptId id = expiries_.top().second;
    expiries_.pop();
    const Found found = FindAttempt(id);
    if (!found.attempt || found.attempt->row.state != AttemptState::kRunning) continue;
    if (found.attempt->expires_ms > meta_.time_ms) {
      expiries_.push({found.attempt->expires_ms, id});
      continue;
    }
    Device& device = devices_.at(found.attempt->row.device);
    ++device.reputation.expired;
    dirty_devices_.insert(device.row.id);
    Close(*found.job, *found.shard);
    EndAttempt(*found.attempt, AttemptState::kExpired, effects);
    std::erase_if(found.shard->attempts, [&](const Attempt& a) { return a.row.id == id; });
    ++found.shard->row.expired;
    Lost(*found.job, *found.shard, effects);
  }
  while (!pause_ends_.empty() && *pause_ends_.begin() <= meta_.time_ms) {
    pause_ends_.erase(pause_ends_.begin());
    work_added_ = true;
  }
  return absl::OkStatus();
}

void Grid::MatchWaiting(Effects* effects) {
  const std::deque<DeviceId> waiting = std::exchange(waiting_, {});
  for (const DeviceId id : waiting) {
    Device& device = devices_.at(id);
    const size_t before = effects->leases.size();
    Match(device, effects);
    if (effects->leases.size() == before) {
      waiting_.push_back(id);
    } else {
      device.wants = 0;  // What it got answers its poll; it will ask again.
    }
  }
}

void Grid::Match(Device& device, Effects* effects) {
  if (device.power == Power::kBattery) return;
  for (auto& [id, job] : jobs_) {
    if (PausedUntilMs(job, device.row.id) > meta_.time_ms || !Unfit(job, device).empty()) continue;
    while (device.wants > 0 && device.leases.size() < kMaxLeasesPerDevice &&
           LeaseOne(job, device, effects)) {
      --device.wants;
    }
    if (device.wants == 0) return;
  }
}

int64_t Grid::PausedUntilMs(const Job& job, DeviceId device) const {
  const auto it = job.pauses.find(device);
  return it == job.pauses.end() ? 0 : it->second.until_ms;
}

void Grid::PauseAfterFault(Job& job, DeviceId device) {
  Pause& pause = job.pauses[device];
  const int64_t length_ms = kFaultPauseMs << std::min(pause.faults_in_a_row++, 16);
  pause.until_ms = meta_.time_ms + std::min(length_ms, kMaxFaultPauseMs);
  pause_ends_.insert(pause.until_ms);
}

std::optional<uint32_t> Grid::FindOpen(const Job& job, const Party& party) const {
  for (const auto& [parties, shards] : job.open) {
    if (!parties.contains(party)) return *shards.begin();
  }
  return std::nullopt;
}

bool Grid::LeaseOne(Job& job, Device& device, Effects* effects) {
  const Party party = PartyOf(job, device);
  const std::optional<uint32_t> open = FindOpen(job, party);
  if (!open && job.row.progress.next_shard >= job.spec->shards) return false;

  const uint32_t index = open ? *open : job.row.progress.next_shard;
  Shard& shard = job.live[index];
  if (!open) {
    ++job.row.progress.next_shard;
    shard.row.id = {job.row.id, index};
    shard.row.replicas = job.spec->redundancy.replicas;
    job.row.progress.state = JobState::kRunning;
    dirty_jobs_.insert(job.row.id);
  }

  Attempt attempt;
  attempt.row.id = AttemptId{meta_.next_attempt++};
  attempt.row.shard = shard.row.id;
  attempt.row.device = device.row.id;
  attempt.row.owner = device.row.owner;
  attempt.row.lease_token = LeaseToken(seed_, attempt.row.id);
  attempt.row.try_number = shard.row.tries;
  StartLease(job, attempt);
  attempts_[attempt.row.id] = shard.row.id;
  device.leases.insert(attempt.row.id);
  effects->rows.shards.push_back(shard.row);
  effects->rows.attempts.push_back(attempt.row);
  effects->leases.push_back({.attempt = attempt.row.id,
                             .shard = shard.row.id,
                             .device = device.row.id,
                             .token = attempt.row.lease_token,
                             .checkpoint = StateFor(job, shard, attempt.row)});
  Close(job, shard);
  shard.attempts.push_back(std::move(attempt));
  Reopen(job, shard);
  return true;
}

void Grid::StartLease(const Job& job, Attempt& attempt) {
  // A device that is heard but never answers would otherwise hold a shard for ever.
  attempt.latest_ms = meta_.time_ms + job.spec->limits.wall_ms + kMaxQueuedMs;
  Extend(attempt);
  expiries_.push({attempt.expires_ms, attempt.row.id});
}

void Grid::Extend(Attempt& attempt) {
  attempt.expires_ms = std::min(meta_.time_ms + config_.lease_ttl_ms(), attempt.latest_ms);
}

void Grid::EndAttempt(Attempt& attempt, AttemptState state, Effects* effects) {
  if (Device* device = FindDevice(attempt.row.device)) device->leases.erase(attempt.row.id);
  attempt.row.state = state;
  attempts_.erase(attempt.row.id);
  effects->rows.attempts.push_back(attempt.row);
  effects->ended.push_back(attempt.row.id);
  if (state != AttemptState::kAgreed) effects->drop.push_back(attempt.row.id);
  DropUnnamedState(attempt.row, effects);
  Remember(attempt);
}

void Grid::Remember(const Attempt& attempt) {
  const AttemptState state = attempt.row.state;
  remembered_[attempt.row.id] = {.device = attempt.row.device,
                                 .token = attempt.row.lease_token,
                                 .was_accepted = attempt.result_key ||
                                                 state == AttemptState::kFaulted ||
                                                 state == AttemptState::kGivenBack,
                                 .expired = state == AttemptState::kExpired};
  remembered_order_.push_back(attempt.row.id);
  if (remembered_order_.size() > kMaxRemembered) {
    remembered_.erase(remembered_order_.front());
    remembered_order_.pop_front();
  }
}

std::optional<int64_t> Grid::NextExpiryMs() const {
  if (expiries_.empty()) return std::nullopt;
  return expiries_.top().first;
}

std::vector<Lease> Grid::LiveLeases() const {
  std::vector<Lease> leases;
  for (const auto& [id, job] : jobs_) {
    for (const auto& [index, shard] : job.live) {
      for (const Attempt& attempt : shard.attempts) {
        leases.push_back({.attempt = attempt.row.id,
                          .shard = attempt.row.shard,
                          .device = attempt.row.device,
                          .token = attempt.row.lease_token,
                          .checkpoint = StateFor(job, shard, attempt.row)});
      }
    }
  }
  return leases;
}

}  // namespace corpgrid::core
