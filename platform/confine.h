#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace corpgrid::platform {

// The files that a process is left with.
struct Reach {
  std::vector<std::string> read;   // files and folders, with all below them
  std::vector<std::string> write;  // the same, also to be read, made and removed
};

// From here on this thread, and every thread and process that it starts, opens no other files and
// executes none at all. For good. What is not there is passed over. True; false where the kernel
// cannot do that (Linux before 5.13, or without Landlock). Errors: Unavailable with its reason.
absl::StatusOr<bool> ConfineFiles(const Reach& reach);

// From here on this thread, and every thread and process that it starts, speaks to nobody: it makes
// no sockets but streams within this machine, connects none of them, and has no io_uring, which
// knows ways around that. It can go on to answer at a Unix socket. For good. Errors: Unavailable
// where the kernel cannot do that.
absl::Status ConfineSockets();

}  // namespace corpgrid::platform
