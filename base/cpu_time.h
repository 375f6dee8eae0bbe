#pragma once

#include <cstdint>

namespace corpgrid {

// Microseconds of processors that the calling thread has had.
int64_t ThreadCpuUs();

}  // namespace corpgrid
