// What devices die of: docs/decisions/0012-removal-and-deaths.md says why it counts as it does.

#include <algorithm>
#include <utility>

#include "core/grid.h"
#include "fmt/format.h"

namespace corpgrid::core {

Reply Grid::Do(const ReportDeath& c, Effects* effects) {
  Device* device = FindDevice(c.device);
  if (!device) return absl::UnauthenticatedError("unknown device: register first");
  Hear(*device);
  std::vector<ShardId> shards;
  for (const ReportDeath::Begun& begun : c.attempts) {
    if (const auto shard = ShardBegun(*device, begun)) shards.push_back(*shard);
  }
  if (shards.empty()) return absl::OkStatus();
  device->deaths.Add(meta_.time_ms, shards);
  for (const ShardId id : shards) BlameShard(*device, id, effects);
  return absl::OkStatus();
}

std::optional<ShardId> Grid::ShardBegun(const Device& device, const ReportDeath::Begun& begun) {
  if (const Attempt* attempt = FindAttempt(begun.attempt).attempt) {
    const AttemptRow& row = attempt->row;
    const bool runs = row.device == device.row.id && row.lease_token == begun.lease_token &&
                      row.state == AttemptState::kRunning;
    return runs ? std::optional(row.shard) : std::nullopt;
  }
  // A machine that is started again comes later than its leases end.
  const auto ended = remembered_.find(begun.attempt);
  if (ended == remembered_.end() || !ended->second.expired ||
      ended->second.device != device.row.id || ended->second.token != begun.lease_token ||
      std::exchange(ended->second.died, true)) {
    return std::nullopt;
  }
  return ended->second.shard;
}

void Grid::BlameShard(Device& device, ShardId id, Effects* effects) {
  Job* job = FindJob(id.job);
  if (!job) return;  // It ended, perhaps with the shard before.
  const auto live = job->live.find(id.index);
  if (live == job->live.end()) return;
  Shard& shard = live->second;
  const auto attempt =
      std::find_if(shard.attempts.begin(), shard.attempts.end(), [&](const Attempt& a) {
        return a.row.device == device.row.id && a.row.state == AttemptState::kRunning;
      });
  std::vector<DeviceId>& died_on = shard.row.died_on;
  const bool known = std::any_of(died_on.begin(), died_on.end(), [&](DeviceId other) {
    return PartyOf(*job, devices_.at(other)) == PartyOf(*job, device);
  });
  // The first time it keeps the lease, to go on from its saved state: others perhaps may not.
  const bool ends = attempt != shard.attempts.end() &&
                    (known || !StateFor(*job, shard, attempt->row).has_value());
  if (ends) {
    ++device.reputation.expired;
    Blame(device, Fault::kHeartbeatLoss);
    // Another one had better try it.
    PauseAfterFault(*job, device.row.id);
    Abandon({job, &shard, &*attempt}, AttemptState::kDied, effects);
    ++shard.row.expired;
  }
  if (!known && device.deaths.AllWith(id)) {
    died_on.push_back(device.row.id);
    LogDeath(device.row.id, id, effects);
  }
  if (died_on.size() >= kMaxDeaths) {
    FinishShard(*job, shard, ShardState::kFailed, DeathsOf(shard), effects);
  } else if (ends) {
    Lost(*job, shard, effects);
  } else {
    effects->rows.shards.push_back(shard.row);
  }
}

std::string Grid::DeathsOf(const Shard& shard) {
  std::string devices;
  for (const DeviceId id : shard.row.died_on) {
    const DeviceRow& row = devices_.at(id).row;
    devices += fmt::format("{}{} (device {}, {}'s)", devices.empty() ? "" : ", ", row.name,
                           id.value, row.owner);
  }
  return fmt::format(
      "{} devices died while they ran it: {}; see in their system logs what ended them before you "
      "submit it again",
      shard.row.died_on.size(), devices);
}

Lease Grid::LeaseOf(const Job& job, const Shard& shard, const Attempt& attempt) const {
  return {.attempt = attempt.row.id,
          .shard = attempt.row.shard,
          .device = attempt.row.device,
          .token = attempt.row.lease_token,
          .checkpoint = StateFor(job, shard, attempt.row),
          .careful = shard.row.expired > 0 || !shard.row.died_on.empty()};
}

}  // namespace corpgrid::core
