#include "inference/llama/library.h"

#include <ggml-backend.h>
#include <llama.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <mutex>

#include "absl/synchronization/mutex.h"
#include "base/check.h"
#include "fmt/format.h"

namespace corpgrid::inference {
namespace {

constexpr size_t kMaxLines = 10'000;

bool uses_gpus = false;

// libllama has one log for the process.
struct Log {
  absl::Mutex mutex;
  bool capturing = false;
  std::string line;
  ggml_log_level level = GGML_LOG_LEVEL_NONE;
  std::vector<std::string> lines;
  std::string last_error;
  std::function<void(const std::string&)> on_line;
};

Log& TheLog() {
  static Log log;
  return log;
}

void Hear(ggml_log_level level, const char* text, void*) {
  Log& log = TheLog();
  absl::MutexLock lock(&log.mutex);
  if (level != GGML_LOG_LEVEL_CONT) log.level = level;
  log.line += text;
  size_t end;
  while ((end = log.line.find('\n')) != std::string::npos) {
    std::string line = log.line.substr(0, end);
    log.line.erase(0, end + 1);
    // Warnings and errors are a worker's last words, should it end now.
    if (log.level >= GGML_LOG_LEVEL_WARN) std::fprintf(stderr, "%s\n", line.c_str());
    if (!log.capturing) continue;
    // The reason comes before this one.
    const bool says_nothing = line.empty() || line.ends_with("failed to load model");
    if (log.level == GGML_LOG_LEVEL_ERROR && !says_nothing) log.last_error = line;
    if (log.on_line) log.on_line(line);
    if (log.lines.size() < kMaxLines) log.lines.push_back(std::move(line));
  }
}

}  // namespace

void UseGpus() { uses_gpus = true; }

absl::Status PrepareLibrary() {
  static std::once_flag once;
  std::call_once(once, [] {
    setenv("GGML_NO_BACKTRACE", "1", /*overwrite=*/1);  // or an abort starts a debugger
    if (uses_gpus) {
      setenv("MESA_SHADER_CACHE_DISABLE", "true", /*overwrite=*/1);  // its folder is out of reach
    } else {
      setenv("VK_LOADER_DRIVERS_DISABLE", "*", /*overwrite=*/1);
    }
    llama_log_set(Hear, nullptr);
    ggml_backend_load_all_from_path(CORPGRID_BACKENDS);
    llama_backend_init();
  });
  if (ggml_backend_dev_count() > 0) return absl::OkStatus();
  return absl::FailedPreconditionError(
      fmt::format("no backend to compute with was found in {}; run ./dev setup, or reinstall",
                  CORPGRID_BACKENDS));
}

std::string LibraryFolder() { return CORPGRID_BACKENDS; }

std::string DescribeLibrary() {
  std::string devices;
  for (size_t i = 0; i < ggml_backend_dev_count(); ++i) {
    devices +=
        fmt::format("{}{}", i > 0 ? ", " : "", ggml_backend_dev_name(ggml_backend_dev_get(i)));
  }
  return fmt::format("{}: {}", llama_version(), devices);
}

LogCapture::LogCapture(std::function<void(const std::string& line)> on_line) {
  Log& log = TheLog();
  absl::MutexLock lock(&log.mutex);
  CHECK_INVARIANT(!log.capturing);
  log.capturing = true;
  log.lines.clear();
  log.last_error.clear();
  log.on_line = std::move(on_line);
}

LogCapture::~LogCapture() {
  Log& log = TheLog();
  absl::MutexLock lock(&log.mutex);
  log.capturing = false;
  log.on_line = nullptr;
}

std::vector<std::string> LogCapture::Lines() const {
  Log& log = TheLog();
  absl::MutexLock lock(&log.mutex);
  return log.lines;
}

std::string LogCapture::LastError(const std::string& otherwise) const {
  Log& log = TheLog();
  absl::MutexLock lock(&log.mutex);
  return log.last_error.empty() ? otherwise : log.last_error;
}

}  // namespace corpgrid::inference
