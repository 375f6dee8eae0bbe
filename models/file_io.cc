#include "models/file_io.h"

#include <fcntl.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>

#include "base/file.h"
#include "base/status_macros.h"
#include "base/text.h"
#include "fmt/format.h"

namespace corpgrid::models {

absl::StatusOr<std::string> ReadFile(const std::string& path, size_t limit) {
  const UniqueFd fd(open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd.ok()) return FileError(path, "open", errno);
  std::string text;
  char part[16 << 10];
  for (;;) {
    const ssize_t size = read(fd.get(), part, sizeof part);
    if (size < 0 && errno == EINTR) continue;
    if (size < 0) return FileError(path, "read", errno);
    if (size == 0) return text;
    text.append(part, static_cast<size_t>(size));
    if (text.size() > limit) {
      return absl::ResourceExhaustedError(
          fmt::format("{} is longer than {}", path, FormatBytes(limit)));
    }
  }
}

absl::Status WriteFileDurably(const std::string& path, std::string_view text) {
  const std::string temporary = path + ".new";
  const UniqueFd fd(open(temporary.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644));
  if (!fd.ok()) return FileError(temporary, "make", errno);
  RETURN_IF_ERROR(WriteAll(fd.get(), text, temporary));
  if (fsync(fd.get()) != 0) return FileError(temporary, "write", errno);
  if (std::rename(temporary.c_str(), path.c_str()) != 0) return FileError(path, "make", errno);
  return absl::OkStatus();
}

absl::Status SyncPath(const std::string& path) {
  const UniqueFd fd(open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd.ok()) return FileError(path, "open", errno);
  if (fsync(fd.get()) != 0) return FileError(path, "write", errno);
  return absl::OkStatus();
}

absl::Status CheckSpace(const std::string& folder, uint64_t bytes) {
  struct statvfs disk;
  if (statvfs(folder.c_str(), &disk) != 0) return FileError(folder, "look at", errno);
  const uint64_t free_bytes = uint64_t{disk.f_bavail} * disk.f_frsize;
  if (bytes <= free_bytes) return absl::OkStatus();
  return absl::ResourceExhaustedError(
      fmt::format("{} more are needed in {}, and its disk has {} left; make room, or choose "
                  "another folder",
                  FormatBytes(bytes), folder, FormatBytes(free_bytes)));
}

}  // namespace corpgrid::models
