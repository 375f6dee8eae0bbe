#pragma once

#include <sys/resource.h>

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "runner/inside/processes.h"
#include "runner/inside/scratch.h"
#include "runner/inside/streams.h"
#include "runner/protocol.h"

namespace corpgrid::runner::inside {

// Runs shards one after the other, each in PID and IPC namespaces of its own.
class ShardRunner {
 public:
  ShardRunner(const protocol::Setup& setup, int control, Scratch* scratch, Streams* streams);

  // `packet` is a RunRequest with its strings. When it returns, every process of the shard is dead.
  // Ends the runner when the host is gone.
  protocol::RunReply Run(std::string_view packet);

 private:
  enum class Stop { kNo, kCancelled, kWallLimit, kMemoryLimit };

  bool Parse(std::string_view packet);
  void ListPrograms();
  void Supervise();
  bool AwaitStart();
  void TakeRequest();
  void TakeCancel(const protocol::CancelRequest& cancel);
  void TakeStep(const protocol::StepRequest& step);
  void Answer(protocol::Kind kind, bool done);
  void Thaw();
  void BeginStop(Stop why, int64_t grace_us);
  void KillNow();
  void WatchMemory();
  protocol::RunReply Reply(const rusage& usage);

  const protocol::Setup setup_;
  const int control_;
  Scratch* const scratch_;
  Streams* const streams_;
  Processes processes_;

  // Of the shard that runs now.
  protocol::RunRequest request_;
  std::string strings_;
  std::vector<char*> argv_, env_;
  std::vector<std::string> programs_;  // the paths to try, in order
  std::vector<const char*> program_paths_;
  pid_t init_ = 0;
  int init_pidfd_ = -1;
  Stop stop_ = Stop::kNo;
  bool disk_was_full_ = false;
  bool frozen_ = false;
  int64_t start_us_ = 0, end_us_ = 0, kill_at_us_ = 0, watch_at_us_ = 0;
};

}  // namespace corpgrid::runner::inside
