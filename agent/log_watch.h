#pragma once

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "agent/scheduler_client.h"
#include "agent/stop_signal.h"

namespace corpgrid::agent {

// Looks at the grid's audit log now and then, keeps its last checkpoint in the agent's folder
// (audit/keeper.h) and tells its log when the next one contradicts it. The agent works on: who
// judges what became of a log is a person, and each result is signed anyway.
class LogWatch {
 public:
  static constexpr int64_t kLookMs = 30'000;  // from one look to the next
  static constexpr int64_t kAskMs = 1000;     // how soon after it registered anew

  // `scheduler` must outlive it.
  LogWatch(SchedulerClient* scheduler, std::string folder)
      : scheduler_(scheduler), folder_(std::move(folder)) {}

  // Looks after each registration and every kLookMs until `stop` is set. One thread.
  void Run(StopSignal* stop);

  // One look. Errors: DataLoss when the log is not the one that was seen before; those of the call
  // and of the folder.
  absl::Status Look();

 private:
  SchedulerClient* const scheduler_;
  const std::string folder_;
};

}  // namespace corpgrid::agent
