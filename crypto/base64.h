#pragma once

#include <string>
#include <string_view>

#include "absl/status/statusor.h"

namespace corpgrid::crypto {

// RFC 4648, section 4: the standard alphabet, with padding. Any thread.
std::string ToBase64(std::string_view bytes);

// Errors: InvalidArgument for whatever ToBase64 does not give.
absl::StatusOr<std::string> FromBase64(std::string_view text);

}  // namespace corpgrid::crypto
