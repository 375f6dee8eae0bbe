#pragma once

#include <cstdint>
#include <deque>
#include <optional>
#include <string>
#include <vector>

#include "sim/checker.h"
#include "sim/event_queue.h"
#include "sim/faults.h"
#include "sim/messages.h"
#include "sim/network.h"
#include "sim/world.h"

namespace corpgrid::sim {

// Leases that others could have seen, for agents that steal and for those that keep what has ended.
class Loot {
 public:
  void Add(uint32_t agent, const core::Lease& lease);
  // A lease of somebody but `agent`, recent or old; null when none is at hand.
  const core::Lease* Any(uint32_t agent, Random* random) const;

 private:
  static constexpr size_t kMax = 64;
  std::vector<std::pair<uint32_t, core::Lease>> leases_;
  size_t next_ = 0;
};

// One device: registers, polls, runs shards, sends heartbeats and hands results in, with all that
// can go wrong with a machine on somebody's desk.
class Agent {
 public:
  struct Parts {  // all must outlive the agent
    EventQueue* events;
    Network* network;
    Faults* faults;
    World* world;
    Checker* checker;
    Loot* loot;
  };

  Agent(uint32_t index, uint64_t seed, int64_t heartbeat_ms, const Parts& parts)
      : parts_(parts), index_(index), heartbeat_ms_(heartbeat_ms), random_(seed) {
    slots_ = 1 + static_cast<uint32_t>(random_.Below(4));
  }

  // Does all that is due. Event kAgentWake.
  void Wake();
  void Receive(Answer answer);
  // Throws the dice for what strikes a device by itself; called about once a second.
  void Trouble();
  // From now on the device is there and works.
  void CalmDown();

  bool idle() const { return held_.empty(); }

 private:
  enum class Stage : uint8_t { kQueued, kRunning, kFinished };
  struct Held {
    core::Lease lease;
    Stage stage = Stage::kQueued;
    int64_t end_ms = 0;
    int64_t late_until_ms = 0;  // when the result may be handed in
    bool spoilt = false;        // what was handed in last was not what should have been
    core::HandedIn result;
    Signature signature;
  };
  struct Call {
    uint64_t id = 0;  // 0: none is under way
    int64_t deadline_ms = 0;
    int64_t next_ms = 0;  // not again before
  };

  int64_t now_ms() const { return parts_.events->now_ms(); }
  void WakeAt(int64_t ms);
  bool Due(Call* call);
  void Send(Call* call, int64_t timeout_ms, Body body, int64_t wait_ms = 0,
            std::vector<Signature> signatures = {});
  void Register();
  void Poll();
  void Beat();
  void Work();
  void Start(Held* held);
  void Finish(Held* held);
  job::Result ResultOf(const JobTruth& job, const core::Lease& lease);
  void SaveState();
  void Crash();
  void TellDeath();
  void MakeUpDeath();
  void HandIn();
  void Misbehave(std::vector<core::HandedIn>* results, std::vector<Signature>* signatures);
  void Lose();
  void Intrude();

  void Take(const std::vector<core::Lease>& leases);
  void Judge(const std::vector<core::Verdict>& verdicts);
  void StopWork(const std::vector<core::Stop>& stops);
  core::Condition condition() const;

  const Parts parts_;
  const uint32_t index_;
  const int64_t heartbeat_ms_;
  Random random_;
  uint32_t slots_ = 1;

  // What a version knows.
  bool knows_power_ = true;
  bool knows_held_ = true;
  bool knows_progress_ = true;

  uint64_t session_ = 0;
  uint64_t calls_ = 0;
  Call register_;
  Call poll_;
  Call heartbeat_;
  Call submit_;
  Call checkpoint_;
  Call death_;
  std::vector<Held> held_;
  bool dies_ = false;                            // of what it has just begun
  std::vector<core::ReportDeath::Begun> begun_;  // that ran when it crashed; nobody was told yet
  int64_t down_until_ms_ = 0;                    // crashed
  int64_t slept_at_ms_ = 0;
  int64_t asleep_until_ms_ = 0;
  int64_t battery_until_ms_ = 0;
  int64_t closed_until_ms_ = 0;
  int64_t next_wake_ms_ = -1;  // of the event that is under way
};

}  // namespace corpgrid::sim
