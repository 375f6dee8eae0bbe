// What strikes a device by itself.

#include <algorithm>

#include "sim/agent.h"

namespace corpgrid::sim {

void Agent::Trouble() {
  Faults& faults = *parts_.faults;
  Random& random = faults.random();
  if (std::max(down_until_ms_, asleep_until_ms_) > now_ms()) return;
  if (faults.Strike(Fault::kPartitionToScheduler)) {
    parts_.network->CutToScheduler(index_, now_ms() + random.Between(1'000, 120'000));
  }
  if (faults.Strike(Fault::kPartitionFromScheduler)) {
    parts_.network->CutFromScheduler(index_, now_ms() + random.Between(1'000, 120'000));
  }
  if (faults.Strike(Fault::kOnBattery)) {
    battery_until_ms_ = now_ms() + random.Between(10'000, 900'000);
  }
  if (faults.Strike(Fault::kHoursEnded)) {
    closed_until_ms_ = now_ms() + random.Between(10'000, 3'600'000);
  }
  if (faults.Strike(Fault::kDeviceSlept)) {
    slept_at_ms_ = now_ms();
    asleep_until_ms_ = now_ms() + random.Between(5'000, 1'800'000);
  }
  if (faults.Strike(Fault::kStranger)) Intrude();
  if (faults.Strike(Fault::kFalseDeath)) MakeUpDeath();
  if (faults.Strike(Fault::kAgentCrashed)) Crash();
  if (faults.Strike(Fault::kOtherVersion)) {
    Lose();
    knows_power_ = random.Below(4) != 0;
    knows_held_ = random.Below(4) != 0;
    knows_progress_ = random.Below(4) != 0;
    down_until_ms_ = now_ms() + random.Between(500, 5'000);
  }
  if (faults.Strike(Fault::kMixedVersions)) {
    Lose();
    parts_.world->Upgrade(index_);
    down_until_ms_ = now_ms() + random.Between(500, 5'000);
  }
  if (faults.Strike(Fault::kStaleDeviceInfo)) {
    Lose();
    parts_.world->Refit(index_, &random);
    down_until_ms_ = now_ms() + random.Between(500, 5'000);
  }
}

// Somebody else on the device's network tries to get in. Nobody waits for the answer.
void Agent::Intrude() {
  Request request;
  request.node = index_;
  core::RegisterDevice body;
  body.device = parts_.world->devices()[index_].info;
  body.device.public_key[0] = static_cast<char>(~body.device.public_key[0]);
  const uint32_t owner = parts_.world->devices()[index_].owner;
  if (parts_.checker->AllJoined(owner)) {  // else the token might let the stranger in
    body.join_secret_hash = parts_.world->owners()[owner].join_secret;
  }
  request.body = std::move(body);
  parts_.network->Send(std::move(request));
}

// What it had noted of what ran is there when it starts again.
void Agent::Crash() {
  begun_.clear();
  for (const Held& held : held_) {
    if (held.stage == Stage::kRunning) begun_.push_back({held.lease.attempt, held.lease.token});
  }
  Lose();
  down_until_ms_ = now_ms() + parts_.faults->random().Between(200, 60'000);
  WakeAt(down_until_ms_);
}

void Agent::TellDeath() {
  if (Due(&death_)) {
    death_.next_ms = now_ms() + 1'000;
    Send(&death_, 10'000, core::ReportDeath{.device = {}, .attempts = begun_});
  }
  WakeAt(death_.id != 0 ? death_.deadline_ms : death_.next_ms);
}

void Agent::MakeUpDeath() {
  const core::Lease* lease = parts_.loot->Any(index_, &random_);
  if (!held_.empty() && random_.Below(2) == 0) lease = &held_[random_.Below(held_.size())].lease;
  if (lease) begun_.push_back({lease->attempt, lease->token});
}

void Agent::Lose() {
  dies_ = false;
  held_.clear();
  session_ = 0;
  register_ = poll_ = heartbeat_ = submit_ = checkpoint_ = death_ = {};
  asleep_until_ms_ = 0;
}

void Agent::CalmDown() {
  down_until_ms_ = 0;
  battery_until_ms_ = closed_until_ms_ = 0;
  if (asleep_until_ms_ > now_ms()) asleep_until_ms_ = now_ms();
  for (Held& held : held_) {
    held.end_ms = std::min(held.end_ms, now_ms() + 60'000);
    held.late_until_ms = std::min(held.late_until_ms, now_ms());
  }
  WakeAt(now_ms());
}

}  // namespace corpgrid::sim
