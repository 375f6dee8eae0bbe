#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "crypto/hash.h"

namespace corpgrid::rpc {

// The hash of the bytes of these files, each by itself and in this order: what an agent tells of
// the programs that it consists of, and what a scheduler knows of its own. Errors: Unavailable, for
// the first file that cannot be read.
absl::StatusOr<crypto::Hash> Measure(const std::vector<std::string>& files);

}  // namespace corpgrid::rpc
