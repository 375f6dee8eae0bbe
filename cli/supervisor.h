#pragma once

#include <sys/types.h>

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "base/clock.h"
#include "platform/process.h"

namespace corpgrid::cli {

// A program that is to run all the time: started again when it ends, after a pause that doubles
// with each quick end, from a fifth of a second to ten seconds. Its output is appended to a file.
// One thread, which must live as long as the program: the program dies with it.
class Supervised {
 public:
  struct Options {
    std::string name;
    std::vector<std::string> argv;
    std::vector<std::string> env;  // "NAME=value", beside our own environment
    std::string log_path;
  };

  explicit Supervised(Options options, const Clock& clock = SystemClock())
      : options_(std::move(options)), clock_(clock) {}

  absl::Status Start();
  // What Start runs from now on.
  void SetArgv(std::vector<std::string> argv) { options_.argv = std::move(argv); }
  // Starts it again if that is due. `on_end` hears how it ended ("was killed by SIGSEGV") and when
  // it will be started again.
  void Tend(const std::function<void(const std::string& how, int64_t pause_ms)>& on_end);

  // How it ended since Start, nothing while it runs.
  std::optional<std::string> EndedHow();
  bool running() const { return process_.has_value(); }
  pid_t pid() const { return process_ ? process_->pid() : 0; }
  const std::string& name() const { return options_.name; }
  const std::string& log_path() const { return options_.log_path; }
  // What it has written since it was last started, at most 64 KiB of it.
  std::string LogSinceStart() const;

  // Asks it to end; Kill() ends it and all its processes that are still in its session.
  void Terminate() const;
  bool WaitEnded(int64_t timeout_ms);
  void Kill();

 private:
  Options options_;
  const Clock& clock_;
  std::optional<platform::Process> process_;
  int64_t started_ms_ = 0;
  int64_t start_again_ms_ = -1;
  int quick_ends_ = 0;
  int64_t log_start_ = 0;
};

}  // namespace corpgrid::cli
