#pragma once

#include <cstdint>

#include "absl/status/statusor.h"

namespace corpgrid::platform {

struct MemoryUse {
  uint64_t resident_bytes = 0;  // now, mapped files included
  uint64_t peak_bytes = 0;
};

// Of the machine, for new programs without swapping. Any thread. Errors: Unavailable.
absl::StatusOr<uint64_t> AvailableMemory();

// Of this process. Any thread. Errors: Unavailable.
absl::StatusOr<MemoryUse> OwnMemory();

}  // namespace corpgrid::platform
