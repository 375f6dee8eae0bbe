#include "crypto/key_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>

#include "base/status_macros.h"
#include "crypto/hex.h"
#include "crypto/signature.h"
#include "fmt/format.h"
#include "sodium.h"

namespace corpgrid::crypto {
namespace {

class File {
 public:
  File(const std::string& path, int flags, mode_t mode = 0)
      : fd_(open(path.c_str(), flags | O_CLOEXEC, mode)) {}
  File(const File&) = delete;
  File& operator=(const File&) = delete;
  ~File() {
    if (fd_ >= 0) close(fd_);
  }
  int fd() const { return fd_; }

 private:
  int fd_;
};

absl::Status Failed(std::string_view what, const std::string& path) {
  return absl::ErrnoToStatus(errno, fmt::format("cannot {} {}", what, path));
}

absl::Status SyncFolder(const std::string& folder) {
  const File file(folder, O_RDONLY | O_DIRECTORY);
  if (file.fd() < 0 || fsync(file.fd()) != 0) return Failed("sync", folder);
  return absl::OkStatus();
}

absl::Status WriteNew(const std::string& path, std::string_view text, mode_t mode) {
  const File file(path, O_WRONLY | O_CREAT | O_EXCL, 0600);
  if (file.fd() < 0) return Failed("create", path);
  while (!text.empty()) {
    const ssize_t written = write(file.fd(), text.data(), text.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return Failed("write", path);
    text.remove_prefix(static_cast<size_t>(written));
  }
  if (fchmod(file.fd(), mode) != 0 || fsync(file.fd()) != 0) return Failed("sync", path);
  return absl::OkStatus();
}

}  // namespace

std::string FolderOf(const std::string& path) {
  const size_t slash = path.rfind('/');
  if (slash == std::string::npos) return ".";
  return slash == 0 ? "/" : path.substr(0, slash);
}

absl::StatusOr<std::string> ReadKeyFile(
    const std::string& path, size_t limit,
    const std::function<absl::Status(const struct stat&)>& check) {
  // Without O_NONBLOCK a FIFO in the file's place would hold the program.
  const File file(path, O_RDONLY | O_NONBLOCK);
  if (file.fd() < 0) return Failed("open", path);
  struct stat info{};
  if (fstat(file.fd(), &info) != 0) return Failed("examine", path);
  if (!S_ISREG(info.st_mode)) {
    return absl::InvalidArgumentError(fmt::format("{} is not a regular file", path));
  }
  RETURN_IF_ERROR(check(info));
  std::string text(limit + 1, '\0');
  size_t size = 0;
  while (size < text.size()) {
    const ssize_t got = read(file.fd(), text.data() + size, text.size() - size);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return Failed("read", path);
    if (got == 0) break;
    size += static_cast<size_t>(got);
  }
  if (size > limit) {
    sodium_memzero(text.data(), text.size());
    return absl::InvalidArgumentError(
        fmt::format("{} is larger than {} bytes: that is no key file", path, limit));
  }
  text.resize(size);
  return text;
}

absl::Status WriteKeyFile(const std::string& path, std::string_view text, mode_t mode,
                          IfExists if_exists) {
  const std::string temporary = fmt::format("{}.{}.tmp", path, ToHex(RandomBytes(8)));
  absl::Status status = WriteNew(temporary, text, mode);
  if (status.ok()) {
    // link() refuses an existing target, so of several programs exactly one makes the file.
    const int result = if_exists == IfExists::kKeep ? link(temporary.c_str(), path.c_str())
                                                    : rename(temporary.c_str(), path.c_str());
    if (result != 0) status = Failed("create", path);
  }
  unlink(temporary.c_str());
  // Also when another program made the file: whoever uses its key must not lose it in a crash.
  if (status.ok() || absl::IsAlreadyExists(status)) {
    RETURN_IF_ERROR(SyncFolder(FolderOf(path)));
  }
  return status;
}

}  // namespace corpgrid::crypto
