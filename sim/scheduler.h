#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <unordered_map>
#include <vector>

#include "base/clock.h"
#include "sim/checker.h"
#include "sim/event_queue.h"
#include "sim/faults.h"
#include "sim/messages.h"
#include "sim/network.h"
#include "sim/seams.h"
#include "sim/storage.h"
#include "sim/world.h"
#include "store/durable_grid.h"

namespace corpgrid::sim {

// The clocks of the scheduler's machine: simulated time, moved by faults.
class MachineClock final : public Clock {
 public:
  explicit MachineClock(const EventQueue* events) : events_(events) {}
  int64_t MonotonicMs() const override { return events_->now_ms() + monotonic_offset_ms_; }
  int64_t WallMs() const override { return events_->now_ms() + wall_offset_ms_; }
  void MoveMonotonic(int64_t ms) { monotonic_offset_ms_ += ms; }
  void MoveWall(int64_t ms) { wall_offset_ms_ += ms; }
  // The machine has just been started.
  void Reboot() { monotonic_offset_ms_ = -events_->now_ms(); }

 private:
  const EventQueue* const events_;
  int64_t monotonic_offset_ms_ = 0;
  int64_t wall_offset_ms_ = 1'750'000'000'000;
};

// What the scheduler's daemon does around store::DurableGrid, without its sockets and threads:
// sessions, polls that wait, checks of what is handed in, batches, crashes and what follows.
class Scheduler {
 public:
  struct Parts {  // all must outlive the scheduler; `seams` may be null
    EventQueue* events;
    Network* network;
    Faults* faults;
    Storage* storage;
    Checker* checker;
    Seams* seams;
  };

  Scheduler(uint64_t seed, uint32_t agents, const core::GridConfig& config, int64_t tick_ms,
            const Parts& parts)
      : parts_(parts),
        agents_(agents),
        config_(config),
        tick_ms_(tick_ms),
        random_(seed),
        clock_(parts.events) {}

  // Reads the state and goes on from it; on an error tries again later.
  void Start();
  void Receive(Request request);
  // Event kBatch; `epoch` is the event's data.
  void OnBatch(uint64_t epoch);
  void OnTick(uint64_t epoch);
  void OnCompared(uint64_t question);
  // Throws the dice for what strikes a scheduler by itself; called about once a second.
  void Trouble();
  // From now on everything is well.
  void CalmDown() { stalled_until_ms_ = 0; }

  // The jobs for which objects are kept.
  const std::set<JobId>& owners() const { return owners_; }

  // Null while it is down.
  const core::Grid* grid() const { return grid_ ? &grid_->grid() : nullptr; }
  // What a person would be told of a job that does not end.
  std::string Why(JobId job);

 private:
  struct Batch {
    std::vector<Request> requests;
    std::vector<core::Effects> effects;
  };
  struct WaitingPoll {
    uint32_t node = 0;
    uint64_t call = 0;
    int64_t deadline_ms = 0;
  };
  struct Grant {
    DeviceId device;
    std::string token;
  };

  std::optional<DeviceId> DeviceOf(const Request& request) const;
  void Enqueue(Request request);
  core::Proof CheckResult(DeviceId device, uint32_t node, const core::HandedIn& in,
                          const Signature& signature) const;
  void RunBatch(bool tick);
  // Commits what `batch` did, among the faults that may strike. False when it is not durable, or
  // nobody is left to say so.
  bool Commit(Batch* batch);
  // After a commit that failed; false when the store cannot be read either.
  bool ReadBack();
  void Reloaded();
  void Release(const Batch& batch);
  void Deliver(const std::vector<core::Lease>& leases);
  void Compare(const core::Comparison& comparison);
  void AnswerCall(const Request& request, core::Reply reply);
  void EndOldPolls();
  void Delete(JobId owner);
  void Sweep();
  void Crash();

  const Parts parts_;
  const uint32_t agents_;
  const core::GridConfig config_;
  const int64_t tick_ms_;
  Random random_;
  MachineClock clock_;

  std::unique_ptr<store::Store> store_;
  std::unique_ptr<store::DurableGrid> grid_;
  uint64_t epoch_ = 0;  // events of an earlier life mean nothing
  int64_t stalled_until_ms_ = 0;
  bool batch_due_ = false;
  std::vector<Request> queue_;
  std::optional<Batch> unresolved_;  // its commit failed and memory was not read back yet
  std::unordered_map<uint64_t, DeviceId> sessions_;
  uint64_t next_session_ = 1;
  std::map<DeviceId, WaitingPoll> polls_;
  std::unordered_map<AttemptId, Grant> grants_;
  std::map<uint64_t, core::Comparison> questions_;  // that wait for their answer
  uint64_t next_question_ = 1;
  std::set<JobId> owners_;  // as the object store has them: a crash leaves them
};

}  // namespace corpgrid::sim
