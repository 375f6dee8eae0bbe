#include "base/cpu_time.h"

#include <ctime>

namespace corpgrid {

int64_t ThreadCpuUs() {
  timespec time = {};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
  return int64_t{time.tv_sec} * 1'000'000 + time.tv_nsec / 1000;
}

}  // namespace corpgrid
