#include "cli/supervisor.h"

#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "base/status_macros.h"
#include "fmt/format.h"

namespace corpgrid::cli {
namespace {

constexpr int64_t kFirstPauseMs = 200;
constexpr int64_t kLongestPauseMs = 10'000;
constexpr int64_t kRanWellMs = 30'000;
constexpr off_t kLogBytes = 16 << 20;  // then the old log is put aside, one generation of it
constexpr size_t kLogTail = 64 << 10;

std::string Describe(int status) {
  if (WIFEXITED(status)) return fmt::format("ended with status {}", WEXITSTATUS(status));
  const char* name = sigabbrev_np(WTERMSIG(status));
  return name == nullptr ? fmt::format("was killed by signal {}", WTERMSIG(status))
                         : fmt::format("was killed by SIG{}", name);
}

absl::StatusOr<platform::Fd> OpenLog(const std::string& path) {
  struct stat info{};
  if (stat(path.c_str(), &info) == 0 && info.st_size > kLogBytes) {
    rename(path.c_str(), (path + ".1").c_str());
  }
  platform::Fd fd(open(path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600));
  if (!fd) return platform::SystemError("cannot write " + path, errno);
  return fd;
}

}  // namespace

absl::Status Supervised::Start() {
  ASSIGN_OR_RETURN(const platform::Fd log, OpenLog(options_.log_path));
  log_start_ = lseek(log.get(), 0, SEEK_END);
  platform::Launch launch{
      .argv = options_.argv, .fds = {{log.get(), 1}, {log.get(), 2}}, .die_with_thread = true};
  for (char** variable = environ; *variable != nullptr; ++variable) {
    launch.env.emplace_back(*variable);
  }
  launch.env.insert(launch.env.end(), options_.env.begin(), options_.env.end());
  ASSIGN_OR_RETURN(platform::Process process, platform::Process::Start(launch));
  process_.emplace(std::move(process));
  started_ms_ = clock_.MonotonicMs();
  start_again_ms_ = -1;
  return absl::OkStatus();
}

std::optional<std::string> Supervised::EndedHow() {
  if (!process_) return "could not be started";
  const std::optional<int> status = process_->Wait(0);
  if (!status) return std::nullopt;
  return Describe(*status);
}

void Supervised::Tend(const std::function<void(const std::string&, int64_t)>& on_end) {
  const int64_t now = clock_.MonotonicMs();
  if (start_again_ms_ < 0) {
    const std::optional<std::string> how = EndedHow();
    if (!how) return;
    process_.reset();
    quick_ends_ = now - started_ms_ >= kRanWellMs ? 0 : quick_ends_ + 1;
    const int doublings = std::clamp(quick_ends_ - 1, 0, 10);
    const int64_t pause_ms = std::min(kFirstPauseMs << doublings, kLongestPauseMs);
    start_again_ms_ = now + pause_ms;
    on_end(*how, pause_ms);
  }
  if (now < start_again_ms_) return;
  start_again_ms_ = -1;
  started_ms_ = now;
  const absl::Status status = Start();
  // EndedHow() finds it not running and the next pause is longer.
  if (!status.ok()) process_.reset();
}

std::string Supervised::LogSinceStart() const {
  const platform::Fd fd(open(options_.log_path.c_str(), O_RDONLY | O_CLOEXEC));
  std::string text(kLogTail, '\0');
  const ssize_t size = fd ? pread(fd.get(), text.data(), text.size(), log_start_) : 0;
  text.resize(static_cast<size_t>(std::max<ssize_t>(size, 0)));
  return text;
}

void Supervised::Terminate() const {
  if (process_) process_->Signal(SIGTERM);
}

bool Supervised::WaitEnded(int64_t timeout_ms) {
  return !process_ || process_->Wait(timeout_ms).has_value();
}

void Supervised::Kill() {
  if (!process_) return;
  // It leads a process group of its own.
  kill(-process_->pid(), SIGKILL);
  process_.reset();
}

}  // namespace corpgrid::cli
