#pragma once

#include <sys/stat.h>
#include <sys/types.h>

#include <functional>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace corpgrid::crypto {

// The small files that keys live in: read with a bound, written so that a crash leaves the old file
// or the new one. From any thread and process.

// Reads the regular file `path`, at most `limit` bytes, after `check` has accepted its owner and
// mode. Errors: NotFound, check's, InvalidArgument for what is no regular file or too large.
absl::StatusOr<std::string> ReadKeyFile(
    const std::string& path, size_t limit,
    const std::function<absl::Status(const struct stat&)>& check);

enum class IfExists { kReplace, kKeep };

// Makes `path` with `text`, synced to disk. Errors: AlreadyExists with kKeep, when the file is
// there.
absl::Status WriteKeyFile(const std::string& path, std::string_view text, mode_t mode,
                          IfExists if_exists);

// The folder that `path` lies in.
std::string FolderOf(const std::string& path);

}  // namespace corpgrid::crypto
