#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "runner/shard_end.h"

namespace corpgrid::runner {

// What one sandbox is made of; it serves one job, one shard at a time.
struct SandboxOptions {
  std::string runner_path;  // the corpgrid-runner program, readable by the user we run as
  std::string bundle_dir;   // read-only at /bundle; empty: none
  std::string
      input_dir;  // read-only at /input, what is in it may change between shards; empty: none
  uint64_t disk_bytes = 0;    // hard bound of the work folder, a tmpfs
  uint64_t memory_bytes = 0;  // of all processes of a shard and its work folder together
  uint32_t processes = 0;
  bool network = false;
};

// Copies of the work folder, each of one moment: while one is taken every process of the shard
// stands still. Both functions are called by Run's thread.
struct Snapshots {
  int64_t every_ms = 0;  // from the end of one to the beginning of the next; 0: none
  std::function<void(int work_fd)> copy = {};
  std::function<void()> keep =
      {};  // the last copy is good; not called when a process ran meanwhile
};

struct ShardRequest {
  std::vector<std::string> argv;
  std::map<std::string, std::string> env;  // all of it: nothing is inherited
  int64_t wall_ms = 0;
  uint64_t log_bytes = 1 << 20;  // of stdout and of stderr that are kept; what is beyond is dropped
  // Fills the empty work folder before the command starts; not for long, nobody can cancel it. On
  // an error nothing is run.
  std::function<absl::Status(int work_fd)> prepare = {};
  Snapshots snapshots = {};
};

// The variables that every command finds, unless its job says otherwise.
std::map<std::string, std::string> UsualEnvironment();

struct ShardExit {
  ShardEnd end = ShardEnd::kExited;
  int code = 0;  // exit status, signal number, or errno for kNotStarted
  int64_t wall_us = 0;
  int64_t cpu_us = 0;
  uint64_t max_rss_bytes = 0;
};

// A running sandbox: bubblewrap around corpgrid-runner, with only /usr, a made-up /etc, /bundle,
// /input and the work folder to be seen. Each shard gets PID and IPC namespaces of its own, no
// capabilities and a seccomp filter. One thread at a time, but for Cancel() and Progress(), which
// any thread may call. The destructor ends every process in it.
class Session {
 public:
  // Errors: FailedPrecondition when called as the host's root, or when this machine cannot make
  // sandboxes (and why); InvalidArgument when a limit is 0.
  static absl::StatusOr<std::unique_ptr<Session>> Start(const SandboxOptions& options);

  virtual ~Session() = default;

  // Runs one command in an empty /work (top-level entries of /bundle appear in it as links) and
  // waits. When it returns, every process of the shard is dead. Errors: those of
  // ShardRequest::prepare; Unavailable when the sandbox itself broke: it is then good for nothing
  // more.
  virtual absl::StatusOr<ShardExit> Run(const ShardRequest& request) = 0;

  // False once its processes have ended, as when somebody killed them.
  virtual bool Alive() const = 0;

  // Ends the shard that runs now, if any: SIGTERM, and `grace_ms` later SIGKILL.
  virtual void Cancel(int64_t grace_ms) = 0;

  // The last number in 0..1 that the shard wrote to file descriptor 3 (CORPGRID_PROGRESS_FD), -1
  // when none yet.
  virtual double Progress() const = 0;

  // The work folder of the shard that ran last, for openat2(RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS).
  // Valid until the next Run.
  virtual int work_fd() const = 0;

  // What the last shard wrote, the last `max_bytes` of it. Valid after Run.
  virtual std::string Stdout(size_t max_bytes) const = 0;
  virtual std::string Stderr(size_t max_bytes) const = 0;
};

}  // namespace corpgrid::runner
