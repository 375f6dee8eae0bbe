#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "platform/file.h"

namespace corpgrid::agent {

// An empty file in `folder` that has no name and goes with its last descriptor.
absl::StatusOr<platform::Fd> TemporaryFile(const std::string& folder);

// errno as a status: "WHAT PATH: why"; ResourceExhausted for a full disk, else FailedPrecondition.
absl::Status ErrnoStatus(std::string_view what, std::string_view path);

absl::Status WriteAll(int fd, std::string_view data);

// At most `max` bytes from `offset` on; empty at the end.
absl::StatusOr<std::string> ReadAt(int fd, uint64_t offset, size_t max);

}  // namespace corpgrid::agent
