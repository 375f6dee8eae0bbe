#pragma once

#include <cstdint>

#include "absl/status/statusor.h"

namespace corpgrid::platform {

struct MemoryUse {
  uint64_t resident_bytes = 0;  // now, mapped files included
  uint64_t peak_bytes = 0;
};

// Of this process. Any thread. Errors: Unavailable.
absl::StatusOr<MemoryUse> OwnMemory();

}  // namespace corpgrid::platform
