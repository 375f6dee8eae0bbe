#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "agent/files.h"
#include "crypto/hash.h"

namespace corpgrid::agent {

// A folder of a shard's work folder, packed (objects/bundle.h).
struct SavedState {
  UniqueFd file;  // without a name
  crypto::Hash hash;
  uint64_t size_bytes = 0;
};

// Packs the folder `name` of the work folder, in which no process may run meanwhile, into a file in
// `spool_folder`. Nothing when there is no such folder. Errors: InvalidArgument for what the job
// did: another thing of that name, links, devices, what cannot be read, more than `limit_bytes`;
// others are this device's own.
absl::StatusOr<std::optional<SavedState>> PackState(int work_fd, const std::string& name,
                                                    uint64_t limit_bytes,
                                                    const std::string& spool_folder);

// Unpacks what PackState() made, of any device, as the folder `name` of a work folder that has no
// such entry. Nothing in `file` is trusted. Errors: as UnpackBundle().
absl::Status UnpackState(int file, int work_fd, const std::string& name, uint64_t limit_bytes);

}  // namespace corpgrid::agent
