#pragma once

#include <string>

#include "absl/status/statusor.h"

namespace corpgrid::runner {

// As root: a copy of the program `runner` (corpgrid-runner) in `folder`, where the unprivileged
// user that we are about to become can run it, whatever folders the original lies behind; as
// anybody else: its absolute path. Errors: FailedPrecondition when it cannot be run or copied.
absl::StatusOr<std::string> PlaceRunner(const std::string& runner, const std::string& folder);

}  // namespace corpgrid::runner
