#pragma once

#include <functional>
#include <string>
#include <vector>

#include "absl/status/status.h"

namespace corpgrid::inference {

// Makes libllama ready, with every backend that it can use here. Call it before anything else of
// this folder; again does nothing. Any thread. Errors: FailedPrecondition when there is no backend.
absl::Status PrepareLibrary();

// Before the first PrepareLibrary(), which otherwise leaves GPUs and their drivers alone: those
// take time to start, and memory. Not while other threads read the environment.
void UseGpus();

// Where the libraries are that it loads by itself.
std::string LibraryFolder();

// The libraries' version and the devices that they offer: "0.7.0: CPU, Vulkan0".
std::string DescribeLibrary();

// What libllama logs while this lives, of all threads: it tells its reasons and its figures in no
// other way. One at a time; PrepareLibrary() first.
class LogCapture {
 public:
  // `on_line` hears each line as it comes; it must not log, nor ask this.
  explicit LogCapture(std::function<void(const std::string& line)> on_line = nullptr);
  LogCapture(const LogCapture&) = delete;
  ~LogCapture();

  std::vector<std::string> Lines() const;

  // The last error that was logged, or `otherwise`.
  std::string LastError(const std::string& otherwise) const;
};

}  // namespace corpgrid::inference
