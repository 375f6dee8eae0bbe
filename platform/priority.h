#pragma once

#include <cstdint>

#include "absl/status/status.h"

namespace corpgrid::platform {

// How much a thread gives way to the others of its machine. The defaults are the system's own.
struct Priority {
  int nice = 0;  // 0 to 19, which gives way to all others
  enum class Io : uint8_t { kNormal, kLow, kIdle } io = Io::kNormal;
};

// Lowers the calling thread, and every process and thread that it starts from then on; never raises
// it: what has given way already stays as it is. Errors: Unavailable with the system's reason.
absl::Status LowerThisThread(const Priority& priority);

}  // namespace corpgrid::platform
