#include "platform/file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>
#include <system_error>
#include <utility>

namespace corpgrid::platform {

Fd& Fd::operator=(Fd&& other) noexcept {
  if (this != &other) {
    Reset();
    fd_ = other.Release();
  }
  return *this;
}

int Fd::Release() { return std::exchange(fd_, -1); }

void Fd::Reset() {
  if (fd_ >= 0) close(fd_);
  fd_ = -1;
}

absl::StatusOr<std::string> ReadSmallFile(const std::string& path) {
  Fd fd(open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd && errno == ENOENT) return absl::NotFoundError(fmt::format("{} does not exist", path));
  if (!fd) return SystemError(path, errno);
  std::string text(64 << 10, '\0');
  size_t used = 0;
  while (used < text.size()) {
    ssize_t n = read(fd.get(), text.data() + used, text.size() - used);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return SystemError(path, errno);
    if (n == 0) break;
    used += n;
  }
  text.resize(used);
  if (text.ends_with('\n')) text.pop_back();
  return text;
}

absl::Status SystemError(const std::string& what, int error) {
  return absl::UnavailableError(
      fmt::format("{}: {}", what, std::generic_category().message(error)));
}

}  // namespace corpgrid::platform
