#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace corpgrid::models {

// Errors of all: those of FileError(), naming the path.

// The whole file. ResourceExhausted when it is longer than `limit`.
absl::StatusOr<std::string> ReadFile(const std::string& path, size_t limit);

// Writes a temporary file beside it, flushes and renames it: `path` has the old text or the new.
absl::Status WriteFileDurably(const std::string& path, std::string_view text);

// Flushes a file or a folder to the disk.
absl::Status SyncPath(const std::string& path);

// ResourceExhausted with both figures when the disk of `folder` has no room for `bytes` more.
absl::Status CheckSpace(const std::string& folder, uint64_t bytes);

}  // namespace corpgrid::models
