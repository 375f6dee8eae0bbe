#pragma once

#include <functional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "agent/finished.h"
#include "agent/lease_queue.h"
#include "agent/scheduler_client.h"
#include "agent/slot.h"
#include "agent/stop_signal.h"

namespace corpgrid::agent {

// Tells the scheduler regularly what this agent holds and how far it is, which extends the leases,
// and ends what it wants no longer.
class Heartbeat {
 public:
  struct Context {
    SchedulerClient* scheduler;
    LeaseQueue* leases;
    std::function<std::vector<RunningAttempt>()> running;
    std::function<bool(AttemptId)> cancel;                         // one that runs
    std::function<void(AttemptId)> drop;                           // one that waits to be handed in
    std::function<void(AttemptId, const std::string&)> give_back;  // one that runs, and why
    std::function<void(FinishedAttempt)> hand_in;
  };

  explicit Heartbeat(Context context) : context_(std::move(context)) {}

  // Beats every Registration::heartbeat_ms until `stop` is set. One thread.
  void Run(StopSignal* stop);

  // One beat. Errors: of the call; nothing is lost by them.
  absl::Status Beat();

 private:
  const Context context_;
};

}  // namespace corpgrid::agent
