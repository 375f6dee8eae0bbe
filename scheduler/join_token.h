#pragma once

#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "crypto/hash.h"

namespace corpgrid::scheduler {

// A join token is "cgj1." and 64 hexadecimal digits, a secret; the grid keeps its hash only.
std::string JoinToken(const crypto::Hash& secret);

// What the grid knows of a token. Errors: InvalidArgument for text that is no token.
absl::StatusOr<crypto::Hash> JoinSecretHash(std::string_view token);

}  // namespace corpgrid::scheduler
