#include "platform/process.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <linux/close_range.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <utility>

namespace corpgrid::platform {
namespace {

struct ChildPlan {
  const char* working_dir;
  char** argv;
  char** env;
  const std::pair<int, int>* fds;
  size_t fd_count;
  pid_t parent;
  bool die_with_thread;
  int error_fd;
};

// Where the kernel shares the processors out among sessions first (sched(7), "The autogroup
// feature"), a new session takes the share of one that gives way to nobody, whatever the niceness
// of its processes. So it gets theirs. System calls only.
void PassNicenessOn() {
  const int nice = getpriority(PRIO_PROCESS, 0);
  if (nice <= 0) return;
  const int group = open("/proc/self/autogroup", O_WRONLY | O_CLOEXEC);
  if (group < 0) return;  // the kernel does no such thing
  const char text[] = {static_cast<char>('0' + nice / 10), static_cast<char>('0' + nice % 10)};
  [[maybe_unused]] const ssize_t written = write(group, text, sizeof text);
  close(group);
}

// Runs between fork and exec of a process that may have threads: system calls only.
[[noreturn]] void BecomeProgram(const ChildPlan& plan) {
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, nullptr);
  signal(SIGPIPE, SIG_DFL);
  setsid();
  PassNicenessOn();
  bool ok =
      !plan.die_with_thread || (prctl(PR_SET_PDEATHSIG, SIGKILL) == 0 && getppid() == plan.parent);
  ok = ok && chdir(plan.working_dir) == 0;
  ok = ok && syscall(SYS_close_range, 3u, ~0u, CLOSE_RANGE_CLOEXEC) == 0;
  for (size_t i = 0; ok && i < plan.fd_count; ++i) {
    ok = dup2(plan.fds[i].first, plan.fds[i].second) >= 0;
  }
  if (ok) execve(plan.argv[0], plan.argv, plan.env);
  int error = errno;
  [[maybe_unused]] ssize_t n = write(plan.error_fd, &error, sizeof error);
  _exit(127);
}

std::vector<char*> Pointers(const std::vector<std::string>& strings) {
  std::vector<char*> pointers;
  for (const std::string& s : strings) pointers.push_back(const_cast<char*>(s.c_str()));
  pointers.push_back(nullptr);
  return pointers;
}

}  // namespace

absl::StatusOr<Process> Process::Start(const Launch& launch) {
  Fd null(open("/dev/null", O_RDWR | O_CLOEXEC));
  std::vector<std::pair<int, int>> fds = {{null.get(), 0}, {null.get(), 1}, {null.get(), 2}};
  fds.insert(fds.end(), launch.fds.begin(), launch.fds.end());
  int above = 3;
  for (const auto& [ours, theirs] : fds) above = std::max(above, theirs + 1);

  // Copies above every target, so that no dup2 in the child can close a source of a later one.
  std::vector<Fd> copies;
  for (auto& [ours, theirs] : fds) {
    copies.emplace_back(fcntl(ours, F_DUPFD_CLOEXEC, above));
    if (!copies.back()) return SystemError("cannot copy a file descriptor", errno);
    ours = copies.back().get();
  }
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) return SystemError("pipe", errno);
  Fd error_in(ends[0]), error_out(fcntl(ends[1], F_DUPFD_CLOEXEC, above));
  close(ends[1]);
  if (!error_out) return SystemError("cannot copy a file descriptor", errno);

  std::vector<char*> argv = Pointers(launch.argv), env = Pointers(launch.env);
  ChildPlan plan = {
      launch.working_dir.c_str(), argv.data(),    env.data(), fds.data(), fds.size(), getpid(),
      launch.die_with_thread,     error_out.get()};
  pid_t pid = fork();
  if (pid == 0) BecomeProgram(plan);
  if (pid < 0) return SystemError("cannot start a process", errno);
  error_out.Reset();
  Process process(pid, Fd(static_cast<int>(syscall(SYS_pidfd_open, pid, 0))));

  int error = 0;
  ssize_t n;
  while ((n = read(error_in.get(), &error, sizeof error)) < 0 && errno == EINTR) {
  }
  if (n == sizeof error) {
    process.Wait(-1);
    std::string what = fmt::format("cannot start {}", launch.argv[0]);
    if (error == ENOENT) return absl::NotFoundError(what + ": no such file");
    return SystemError(what, error);
  }
  if (!process.pidfd_) return SystemError("pidfd_open", errno);
  return process;
}

Process::Process(Process&& other) noexcept
    : pid_(std::exchange(other.pid_, -1)),
      pidfd_(std::move(other.pidfd_)),
      status_(other.status_) {}

Process::~Process() {
  if (pid_ <= 0 || status_) return;
  kill(pid_, SIGKILL);
  Wait(-1);
}

std::optional<int> Process::Wait(int64_t timeout_ms) {
  if (status_ || pid_ <= 0) return status_;
  if (timeout_ms >= 0) {
    pollfd ended = {pidfd_.get(), POLLIN, 0};
    int timeout = static_cast<int>(std::min<int64_t>(timeout_ms, INT32_MAX)), n;
    while ((n = poll(&ended, 1, timeout)) < 0 && errno == EINTR) {
    }
    if (n <= 0) return std::nullopt;
  }
  int status = 0;
  while (waitpid(pid_, &status, 0) < 0) {
    if (errno != EINTR) return std::nullopt;
  }
  status_ = status;
  return status_;
}

void Process::Signal(int signal) const {
  // By pidfd: the number may belong to another process once this one was waited for.
  if (pidfd_) syscall(SYS_pidfd_send_signal, pidfd_.get(), signal, nullptr, 0);
}

}  // namespace corpgrid::platform
