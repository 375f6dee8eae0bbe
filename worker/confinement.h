#pragma once

#include <string>
#include <vector>

#include "absl/status/status.h"

namespace corpgrid::worker {

// Files that strangers made are read after this: one that breaks the library gets no further. From
// here on the program reads `read`, the system's libraries and what the kernel tells, writes to
// `write`, and starts no program. Where the kernel cannot do that, stderr says so.
absl::Status ConfineFiles(const std::vector<std::string>& read,
                          const std::vector<std::string>& write);

// What GPUs' drivers open, to be written to.
std::vector<std::string> GpuFiles();

}  // namespace corpgrid::worker
