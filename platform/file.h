#pragma once

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace corpgrid::platform {

// A file descriptor that closes itself. Not for two threads at once.
class Fd {
 public:
  Fd() = default;
  explicit Fd(int fd) : fd_(fd) {}
  Fd(Fd&& other) noexcept : fd_(other.Release()) {}
  Fd& operator=(Fd&& other) noexcept;
  ~Fd() { Reset(); }

  int get() const { return fd_; }
  explicit operator bool() const { return fd_ >= 0; }
  int Release();
  void Reset();

 private:
  int fd_ = -1;
};

// The first 64 KiB of a file, without the newline at its end. For /proc and /sys. Errors: NotFound,
// or Unavailable with the system's reason.
absl::StatusOr<std::string> ReadSmallFile(const std::string& path);

// "WHAT: the system's words for `error`", as an Unavailable.
absl::Status SystemError(const std::string& what, int error);

}  // namespace corpgrid::platform
