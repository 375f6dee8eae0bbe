#include "agent/files.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>

namespace corpgrid::agent {

absl::StatusOr<platform::Fd> TemporaryFile(const std::string& folder) {
  std::string path = folder + "/XXXXXX";
  platform::Fd file(mkostemp(path.data(), O_CLOEXEC));
  if (!file) return ErrnoStatus("cannot make a file in", folder);
  unlink(path.c_str());
  return file;
}

absl::Status ErrnoStatus(std::string_view what, std::string_view path) {
  const int error = errno;
  const std::string message = fmt::format("{} {}: {}", what, path, std::strerror(error));
  if (error == ENOSPC || error == EDQUOT) return absl::ResourceExhaustedError(message);
  return absl::FailedPreconditionError(message);
}

absl::Status WriteAll(int fd, std::string_view data) {
  while (!data.empty()) {
    const ssize_t written = write(fd, data.data(), data.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return ErrnoStatus("cannot write", "file");
    data.remove_prefix(static_cast<size_t>(written));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::string> ReadAt(int fd, uint64_t offset, size_t max) {
  std::string data(max, '\0');
  ssize_t got = 0;
  do {
    got = pread(fd, data.data(), data.size(), static_cast<off_t>(offset));
  } while (got < 0 && errno == EINTR);
  if (got < 0) return ErrnoStatus("cannot read", "file");
  data.resize(static_cast<size_t>(got));
  return data;
}

}  // namespace corpgrid::agent
