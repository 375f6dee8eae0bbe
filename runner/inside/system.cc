#include "runner/inside/system.h"

#include <fcntl.h>
#include <time.h>
#include <unistd.h>

#include <cstring>

namespace corpgrid::runner::inside {
namespace {

int complaints = 2;

}  // namespace

int64_t NowUs() {
  timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return now.tv_sec * 1'000'000 + now.tv_nsec / 1000;
}

void KeepComplaints() {
  int kept = fcntl(2, F_DUPFD_CLOEXEC, 10);
  Require(kept >= 0, "file descriptors");
  complaints = kept;
}

void Die(const std::string& what, int error) {
  std::string why = error == 0 ? "" : std::string(": ") + strerror(error);
  std::string line = "corpgrid-runner: " + what + why + "\n";
  [[maybe_unused]] ssize_t n = write(complaints, line.data(), line.size());
  _exit(1);
}

}  // namespace corpgrid::runner::inside
