#pragma once

#include <string>

#include "absl/status/statusor.h"

namespace corpgrid::cli {

// The path of the program that runs.
std::string ThisProgram();

// That of another one of ours, which stands beside it. Errors: NotFound.
absl::StatusOr<std::string> FindBeside(const std::string& name);

}  // namespace corpgrid::cli
