#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "platform/process.h"

namespace corpgrid::worker {

// Where a file is by its name, and where it is that this leads to. None: none.
std::vector<std::string> FoldersOf(const std::string& file);

// A corpgrid-worker that we started. The model that it has is gone with it. It is killed when this
// goes, or the thread that started it. One thread at a time.
class WorkerProcess {
 public:
  struct Options {
    std::string program;  // corpgrid-worker
    std::string folder;   // for its socket and its log, which are written anew
    std::string model;    // that it will load: it reads no files but its folder's; empty: all
    bool gpus = false;    // it may use them
    int64_t start_ms = 30'000;
  };

  // Returns once it listens. Errors: Unavailable with its last words when it ends before, or takes
  // too long.
  static absl::StatusOr<std::unique_ptr<WorkerProcess>> Start(const Options& options);

  // For a channel: "unix:PATH".
  const std::string& address() const { return address_; }

  // Nothing while it runs. Then how it ended and what it said last: "ended by signal 6; its last
  // words: GGML_ASSERT(…) failed".
  std::optional<std::string> Ended();

  // Ends it in order, or by force after `grace_ms`. Its memory is free then.
  void Stop(int64_t grace_ms);

 private:
  WorkerProcess(platform::Process process, std::string address, std::string log)
      : process_(std::move(process)), address_(std::move(address)), log_(std::move(log)) {}

  absl::Status WaitUntilReady(int output, int64_t start_ms);

  platform::Process process_;
  const std::string address_;
  const std::string log_;
};

}  // namespace corpgrid::worker
