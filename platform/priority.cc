#include "platform/priority.h"

#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "platform/file.h"

namespace corpgrid::platform {
namespace {

constexpr int kThisThread = 0;
// As in the kernel's linux/ioprio.h, which C++ cannot read: a class and, of the one that all start
// in, one of eight levels, of which 0 goes first.
constexpr int kOneProcess = 1;
constexpr int kBestEffort = 2 << 13, kIdle = 3 << 13;
constexpr int kLastLevel = 7;

int IoValue(Priority::Io io) {
  return io == Priority::Io::kIdle ? kIdle : kBestEffort | kLastLevel;
}

// Who has no value of its own has that of its niceness.
int CurrentIo() {
  const auto now = static_cast<int>(syscall(SYS_ioprio_get, kOneProcess, kThisThread));
  return now < 0 ? 0 : now;
}

}  // namespace

absl::Status LowerThisThread(const Priority& priority) {
  errno = 0;  // -1 is a niceness, too
  const int nice = getpriority(PRIO_PROCESS, kThisThread);
  if (errno != 0) return SystemError("getpriority", errno);
  if (setpriority(PRIO_PROCESS, kThisThread, std::max(nice, priority.nice)) != 0) {
    return SystemError("setpriority", errno);
  }
  if (priority.io == Priority::Io::kNormal) return absl::OkStatus();
  const int wanted = std::max(CurrentIo(), IoValue(priority.io));  // a later one gives way more
  if (syscall(SYS_ioprio_set, kOneProcess, kThisThread, wanted) != 0) {
    return SystemError("ioprio_set", errno);
  }
  return absl::OkStatus();
}

}  // namespace corpgrid::platform
