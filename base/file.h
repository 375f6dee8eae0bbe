#pragma once

#include <string>
#include <string_view>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace corpgrid {

// A file descriptor that closes itself.
class UniqueFd {
 public:
  UniqueFd() = default;
  explicit UniqueFd(int fd) : fd_(fd) {}
  UniqueFd(UniqueFd&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  UniqueFd& operator=(UniqueFd&& other) noexcept {
    std::swap(fd_, other.fd_);
    return *this;
  }
  ~UniqueFd();

  int get() const { return fd_; }
  int Release() { return std::exchange(fd_, -1); }
  bool ok() const { return fd_ >= 0; }

 private:
  int fd_ = -1;
};

// "PATH: cannot WHAT: No space left on device". A full disk or quota is ResourceExhausted, EIO and
// whatever may pass by itself Unavailable, a missing file NotFound, lacking rights
// PermissionDenied.
absl::Status FileError(std::string_view path, std::string_view what, int error);

// Writes all of `data`; `path` names the file in an error, which is a FileError().
absl::Status WriteAll(int fd, std::string_view data, std::string_view path);

// Keeps other processes out of what a lock file guards, for as long as it lives or the process
// does. Any thread.
class FileLock {
 public:
  // Creates `path` when it does not exist. Errors: FailedPrecondition naming the process that has
  // the lock.
  static absl::StatusOr<FileLock> Take(const std::string& path);

 private:
  explicit FileLock(UniqueFd fd) : fd_(std::move(fd)) {}
  UniqueFd fd_;
};

}  // namespace corpgrid
