#pragma once

#include <string>
#include <vector>

#include "absl/status/status.h"

namespace corpgrid::cli {

// The submitters whose jobs the agent in `agent_folder` runs.
std::string TrustedKeysPath(const std::string& agent_folder);

// Adds each of `keys`, itself a key or the name of a file with one a line, to a keyring file.
// Errors: InvalidArgument for what is neither.
absl::Status AddTrustedKeys(const std::string& keyring_path, const std::vector<std::string>& keys);

}  // namespace corpgrid::cli
