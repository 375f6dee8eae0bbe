#pragma once

#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace corpgrid::scheduler {

// Pieces of bytes over a stream socket between two processes of one build.

inline constexpr size_t kMaxFrameBytes = 48 << 20;

// Errors: Unavailable when the other end has gone.
absl::Status WriteFrame(int socket, std::string_view bytes);

// Waits for a whole frame. Errors: Unavailable when the other end has gone, InvalidArgument for one
// beyond kMaxFrameBytes.
absl::StatusOr<std::string> ReadFrame(int socket);

}  // namespace corpgrid::scheduler
