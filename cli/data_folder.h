#pragma once

#include <sys/types.h>

#include <string>
#include <utility>

#include "absl/status/statusor.h"

namespace corpgrid::cli {

// Where a grid lives when nobody says otherwise: $CORPGRID_DATA, else /var/lib/corpgrid for root,
// else $XDG_DATA_HOME/corpgrid, else ~/.local/share/corpgrid.
std::string DefaultDataFolder();

// `folder` from the root on, without "." and "..".
std::string AbsoluteFolder(const std::string& folder);

std::string SubmitterKeyPath(const std::string& data_folder);

// Who is let in by the gateway of `corpgrid up`.
std::string ApiKeysPath(const std::string& data_folder);

// Held by the `corpgrid up` that looks after a data folder, so that there is one at a time.
class UpLock {
 public:
  // Errors: AlreadyExists naming the process that holds it.
  static absl::StatusOr<UpLock> Take(const std::string& data_folder);
  UpLock(UpLock&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  UpLock& operator=(UpLock&&) = delete;
  ~UpLock();

 private:
  explicit UpLock(int fd) : fd_(fd) {}
  int fd_;
};

// The process id of the `corpgrid up` that looks after `data_folder`, 0 when there is none.
pid_t UpPid(const std::string& data_folder);

}  // namespace corpgrid::cli
