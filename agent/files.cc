#include "agent/files.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <linux/openat2.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>

namespace corpgrid::agent {

absl::StatusOr<UniqueFd> TemporaryFile(const std::string& folder) {
  std::string path = folder + "/XXXXXX";
  UniqueFd file(mkostemp(path.data(), O_CLOEXEC));
  if (!file.ok()) return DeviceError(folder, "make a file in");
  unlink(path.c_str());
  return file;
}

int OpenBeneath(int folder, const std::string& name, uint64_t flags) {
  open_how how{};
  how.flags = O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC | flags;
  how.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS;
  long fd = -1;
  do {
    fd = syscall(SYS_openat2, folder, name.c_str(), &how, sizeof(how));
  } while (fd < 0 && (errno == EINTR || errno == EAGAIN));
  return static_cast<int>(fd);
}

absl::Status OwnError(const absl::Status& status) {
  return absl::IsUnavailable(status) ? absl::InternalError(status.message()) : status;
}

absl::Status DeviceError(std::string_view path, std::string_view what) {
  return OwnError(FileError(path, what, errno));
}

absl::Status WriteAll(int fd, std::string_view data) {
  return OwnError(corpgrid::WriteAll(fd, data, "a file of the data folder"));
}

absl::StatusOr<std::string> ReadAt(int fd, uint64_t offset, size_t max) {
  std::string data(max, '\0');
  ssize_t got = 0;
  do {
    got = pread(fd, data.data(), data.size(), static_cast<off_t>(offset));
  } while (got < 0 && errno == EINTR);
  if (got < 0) return DeviceError("a file of the data folder", "read");
  data.resize(static_cast<size_t>(got));
  return data;
}

}  // namespace corpgrid::agent
