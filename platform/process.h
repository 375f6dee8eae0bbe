#pragma once

#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "platform/file.h"

namespace corpgrid::platform {

struct Launch {
  std::vector<std::string> argv;      // argv[0] is the program's path: no search, no shell
  std::vector<std::string> env = {};  // "NAME=value"; all of it, nothing is inherited
  // {ours, its number in the child}. Every other one is closed there; 0, 1 and 2 are /dev/null
  // unless they are named.
  std::vector<std::pair<int, int>> fds = {};
  std::string working_dir = "/";
  // Killed when the *thread* that called Start ends, however it ends: for programs that launch from
  // a thread that lives as long as they do.
  bool die_with_thread = false;
};

// A process that we started, in a session of its own; the only way in which this project starts
// one. One thread at a time, but for Signal(), which any thread may call.
class Process {
 public:
  // Errors: NotFound when there is no such program, else Unavailable and why.
  static absl::StatusOr<Process> Start(const Launch& launch);

  Process(Process&& other) noexcept;
  Process& operator=(Process&&) = delete;
  // Kills it when it still runs, and waits.
  ~Process();

  pid_t pid() const { return pid_; }

  // Its wait status (see waitpid) once it has ended; nothing when that took longer than
  // `timeout_ms`; -1 waits for ever.
  std::optional<int> Wait(int64_t timeout_ms);

  // Does nothing when it has been waited for.
  void Signal(int signal) const;

 private:
  Process(pid_t pid, Fd pidfd) : pid_(pid), pidfd_(std::move(pidfd)) {}

  pid_t pid_ = -1;
  Fd pidfd_;
  std::optional<int> status_;
};

}  // namespace corpgrid::platform
