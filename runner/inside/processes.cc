#include "runner/inside/processes.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "runner/inside/folder.h"
#include "runner/inside/system.h"

namespace corpgrid::runner::inside {
namespace {

constexpr int64_t kFreezeUs = 500'000;
constexpr long kFreezePauseNs = 200'000;

// Calls `use(pid)` for each process but PID 1, which we are, and the init.
template <typename F>
void ForEachProcess(int proc, pid_t init, F use) {
  ForEach(proc, [&](const Entry& entry) {
    pid_t pid = atoi(entry.name);  // 0 for what is no process
    if (pid > 1 && pid != init) use(pid);
  });
}

// The text of /proc/PID/`file`, cut at 4 KiB; empty when the process is gone or not to be read.
size_t ReadOf(int proc, pid_t pid, const char* file, char (&text)[4096]) {
  char path[64];
  snprintf(path, sizeof path, "%d/%s", pid, file);
  int fd = openat(proc, path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return 0;
  ssize_t n = read(fd, text, sizeof text - 1);
  close(fd);
  if (n < 0) n = 0;
  text[n] = '\0';
  return n;
}

uint64_t KilobytesAfter(const char* text, const char* key) {
  const char* at = strstr(text, key);
  return at == nullptr ? 0 : strtoull(at + strlen(key), nullptr, 10);
}

}  // namespace

Processes::Processes() : proc_(open("/proc", O_RDONLY | O_DIRECTORY | O_CLOEXEC)) {
  Require(proc_ >= 0, "/proc");
  page_bytes_ = sysconf(_SC_PAGESIZE);
}

void Processes::Signal(pid_t init, int signal) const {
  ForEachProcess(proc_, init, [&](pid_t pid) { kill(pid, signal); });
}

bool Processes::StandsStill(pid_t pid) const {
  char path[64];
  snprintf(path, sizeof path, "%d/task", pid);
  const int tasks = openat(proc_, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (tasks < 0) return true;  // it has ended
  bool still = true;
  ForEach(tasks, [&](const Entry& entry) {
    char text[4096];
    const pid_t task = atoi(entry.name);
    if (task <= 0 || ReadOf(tasks, task, "stat", text) == 0) return;
    const char* name_end = strrchr(text, ')');
    if (name_end == nullptr || strlen(name_end) < 3) return;
    // Stopped, traced, or dead.
    still = still && strchr("TtZXx", name_end[2]) != nullptr;
  });
  close(tasks);
  return still;
}

bool Processes::Freeze(pid_t init) {
  const int64_t end_us = NowUs() + kFreezeUs;
  frozen_.clear();
  // A process may be born behind the place that a look has reached, of one that was not stopped
  // yet. So all must be found still twice in a row.
  for (int quiet = 0; quiet < 2;) {
    bool all = true;
    ForEachProcess(proc_, init, [&](pid_t pid) {
      if (StandsStill(pid)) return;
      all = false;
      if (std::find(frozen_.begin(), frozen_.end(), pid) != frozen_.end()) return;
      if (kill(pid, SIGSTOP) == 0) frozen_.push_back(pid);
    });
    quiet = all ? quiet + 1 : 0;
    if (NowUs() > end_us) {
      Thaw();
      return false;
    }
    timespec pause = {0, all ? 0 : kFreezePauseNs};
    Sys(SYS_nanosleep, Word(&pause), 0);
  }
  return true;
}

void Processes::Thaw() {
  for (pid_t pid : frozen_) kill(pid, SIGCONT);
  frozen_.clear();
}

Processes::Memory Processes::MemoryOf(pid_t init, uint64_t limit_bytes) const {
  Memory sum;
  char text[4096];
  ForEachProcess(proc_, init, [&](pid_t pid) {
    unsigned long resident = 0, shared = 0;
    if (ReadOf(proc_, pid, "statm", text) == 0) return;
    if (sscanf(text, "%*u %lu %lu", &resident, &shared) != 2) return;
    sum.private_bytes += (resident - shared) * page_bytes_;
    sum.shared_bytes += shared * page_bytes_;
  });
  if (sum.private_bytes + sum.shared_bytes <= limit_bytes) return sum;

  // Forked processes share most of their pages: look closer before anyone is killed for it.
  Memory exact;
  ForEachProcess(proc_, init, [&](pid_t pid) {
    if (ReadOf(proc_, pid, "smaps_rollup", text) > 0) {
      exact.private_bytes += (KilobytesAfter(text, "Pss_Anon:") + KilobytesAfter(text, "SwapPss:"))
                             << 10;
      exact.shared_bytes += KilobytesAfter(text, "Pss_Shmem:") << 10;
    } else if (ReadOf(proc_, pid, "status", text) > 0) {  // it made itself unreadable
      exact.private_bytes += (KilobytesAfter(text, "RssAnon:") + KilobytesAfter(text, "VmSwap:"))
                             << 10;
      exact.shared_bytes += KilobytesAfter(text, "RssShmem:") << 10;
    }
  });
  return exact;
}

}  // namespace corpgrid::runner::inside
