#pragma once

#include <string>
#include <vector>

#include "absl/status/status.h"

namespace corpgrid::worker {

// What the worker program gives up before it reads a file that a stranger made: one that breaks
// the library gets no further. For good, for this thread and those that it starts.

// No socket of the internet's can be made from here on. False where the kernel does not do that.
bool ForbidNetwork();

// From here on it reads `read`, the system's libraries and what the kernel tells, writes to `write`
// and to what computes, and starts no program. Where the kernel cannot do that, stderr says so.
absl::Status ConfineFiles(const std::vector<std::string>& read,
                          const std::vector<std::string>& write);

}  // namespace corpgrid::worker
