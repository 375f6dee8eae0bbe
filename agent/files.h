#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/file.h"

namespace corpgrid::agent {

// An empty file in `folder` that has no name and goes with its last descriptor.
absl::StatusOr<UniqueFd> TemporaryFile(const std::string& folder);

// Opens `name` in a folder that a job may have written to, for reading: never leaves the folder,
// follows no links, waits for nobody. `flags`: more for open(). A descriptor, or -1 with errno.
int OpenBeneath(int folder, const std::string& name, uint64_t flags);

// `status` of this device's own disk, never Unavailable: that is what a scheduler is that will come
// back.
absl::Status OwnError(const absl::Status& status);

// FileError() with errno, as an OwnError().
absl::Status DeviceError(std::string_view path, std::string_view what);

absl::Status WriteAll(int fd, std::string_view data);

// At most `max` bytes from `offset` on; empty at the end.
absl::StatusOr<std::string> ReadAt(int fd, uint64_t offset, size_t max);

}  // namespace corpgrid::agent
