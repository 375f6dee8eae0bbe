#pragma once

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "base/file.h"

namespace corpgrid::scheduler {

// Which lead a scheduler has: noted in its data folder, so that a later leader of the same grid
// knows whose process it may end.
struct Lead {
  std::string grid_id;
  int64_t term = 0;  // store::Store::Term; 0: the store has no leaders
};

// How long a scheduler that was deposed may take to end by itself.
inline constexpr int64_t kEndByItselfMs = 500;

// Makes `folder` (DATA/scheduler), closed to other users, and keeps other schedulers out of it. One
// that led the same grid in an earlier term must not work on the objects there any more, whatever
// it does once it wakes or is connected again: when it has not ended after kEndByItselfMs, it is
// killed. Any thread. Errors: AlreadyExists naming the process when any other has the folder.
absl::StatusOr<FileLock> TakeDataFolder(const std::string& folder, const Lead& lead);

}  // namespace corpgrid::scheduler
