#pragma once

#include <string>

#include "absl/status/statusor.h"

namespace corpgrid::cli {

// A secret that is given as itself or, so that it stays out of the list of processes, as @FILE.
// Errors: NotFound when the file has none.
absl::StatusOr<std::string> ReadSecret(const std::string& given);

}  // namespace corpgrid::cli
