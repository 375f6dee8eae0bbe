#include "worker/worker_process.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <iterator>

#include "base/clock.h"
#include "base/file.h"
#include "base/last_words.h"
#include "base/status_macros.h"
#include "fmt/format.h"
#include "inference/worker_environment.h"

namespace corpgrid::worker {
namespace {

namespace fs = std::filesystem;

std::string LastWordsIn(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return LastWords({std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()});
}

}  // namespace

std::vector<std::string> FoldersOf(const std::string& file) {
  if (file.empty()) return {};
  std::error_code error;
  const fs::path path = fs::absolute(file, error), real = fs::weakly_canonical(path, error);
  std::vector<std::string> folders = {path.parent_path().string()};
  if (real.parent_path() != path.parent_path()) folders.push_back(real.parent_path().string());
  return folders;
}

absl::StatusOr<std::unique_ptr<WorkerProcess>> WorkerProcess::Start(const Options& options) {
  const std::string socket = options.folder + "/worker.sock", log = options.folder + "/worker.log";
  const UniqueFd errors(
      open(log.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC, 0600));
  if (!errors.ok()) return FileError(log, "write", errno);
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) return platform::SystemError("pipe", errno);
  const UniqueFd output(ends[0]);
  UniqueFd input(ends[1]);
  std::vector<std::string> argv = {options.program, "--socket", socket};
  for (const std::string& folder : FoldersOf(options.model)) {
    argv.insert(argv.end(), {"--read", folder});
  }
  if (options.gpus) argv.emplace_back("--gpus");
  ASSIGN_OR_RETURN(platform::Process process,
                   platform::Process::Start({.argv = std::move(argv),
                                             .env = inference::WorkerEnvironment(),
                                             .fds = {{input.get(), 1}, {errors.get(), 2}},
                                             .die_with_thread = true}));
  input = UniqueFd();  // or the end of its output would not be seen
  std::unique_ptr<WorkerProcess> worker(
      new WorkerProcess(std::move(process), "unix:" + socket, log));
  RETURN_IF_ERROR(worker->WaitUntilReady(output.get(), options.start_ms));
  return worker;
}

absl::Status WorkerProcess::WaitUntilReady(int output, int64_t start_ms) {
  const int64_t deadline_ms = SystemClock().MonotonicMs() + start_ms;
  std::string said;
  while (said.find("ready\n") == std::string::npos) {
    const int64_t left_ms = deadline_ms - SystemClock().MonotonicMs();
    pollfd ready = {output, POLLIN, 0};
    const int n = left_ms > 0 ? poll(&ready, 1, static_cast<int>(left_ms)) : 0;
    if (n < 0 && errno == EINTR) continue;
    if (n == 0) {
      return absl::UnavailableError(
          fmt::format("the worker does not listen after {} ms; its last words: {}", start_ms,
                      LastWordsIn(log_)));
    }
    char part[256];
    const ssize_t got = read(output, part, sizeof part);
    if (got > 0) {
      said.append(part, static_cast<size_t>(got));
      continue;
    }
    process_.Wait(1000);
    return absl::UnavailableError(
        fmt::format("the worker {}", Ended().value_or("closed its output before it listened")));
  }
  return absl::OkStatus();
}

std::optional<std::string> WorkerProcess::Ended() {
  const std::optional<int> status = process_.Wait(0);
  if (!status) return std::nullopt;
  std::string how = WIFSIGNALED(*status)
                        ? fmt::format("ended by signal {}", WTERMSIG(*status))
                        : fmt::format("ended with exit status {}", WEXITSTATUS(*status));
  const std::string words = LastWordsIn(log_);
  return words.empty() ? how : how + "; its last words: " + words;
}

void WorkerProcess::Stop(int64_t grace_ms) {
  process_.Signal(SIGTERM);
  if (process_.Wait(grace_ms)) return;
  process_.Signal(SIGKILL);
  process_.Wait(-1);
}

}  // namespace corpgrid::worker
