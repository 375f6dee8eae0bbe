#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "agent/scheduler_client.h"
#include "agent/stop_signal.h"

namespace corpgrid::agent {

struct LogWatchTimes {
  int64_t look_ms = 30'000;     // from one look to the next, give or take a quarter
  int64_t ask_ms = 1000;        // how soon after it registered anew
  int64_t silent_ms = 600'000;  // without a look that succeeds, which is told
};

// Looks at the grid's audit log now and then, keeps its last checkpoint in the agent's folder
// (audit/keeper.h) and tells when the next one contradicts it, or when there is none for long. The
// agent works on: who judges what became of a log is a person, and each result is signed anyway.
class LogWatch {
 public:
  using Tell = std::function<void(const std::string&)>;

  // `scheduler` must outlive it.
  LogWatch(SchedulerClient* scheduler, std::string folder, Tell tell, LogWatchTimes times = {})
      : scheduler_(scheduler), folder_(std::move(folder)), tell_(std::move(tell)), times_(times) {}

  // Looks after each registration and then every look_ms until `stop` is set. Tells each kind of
  // trouble once, until a look succeeds. One thread.
  void Run(StopSignal* stop);

  // One look. Errors: DataLoss when the log is not the one that was seen before or has trouble of
  // its own, InvalidArgument for what is no checkpoint; those of the call and of the folder.
  absl::Status Look();

 private:
  enum class Told { kNothing, kSilence, kTrouble };

  // What is to be told after a look that ended with `status`.
  void Judge(const absl::Status& status);

  SchedulerClient* const scheduler_;
  const std::string folder_;
  const Tell tell_;
  const LogWatchTimes times_;
  Told told_ = Told::kNothing;
  int64_t silent_ms_ = 0;  // of being registered since a look succeeded
};

}  // namespace corpgrid::agent
