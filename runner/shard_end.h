#pragma once

#include <cstdint>

namespace corpgrid::runner {

// How a shard ended. Apart from session.h because corpgrid-runner, which is small, needs it too.
enum class ShardEnd : uint8_t {
  kExited,
  kSignaled,
  kWallLimit,
  kMemoryLimit,
  kDiskLimit,
  kNotStarted,
  kCancelled
};

}  // namespace corpgrid::runner
