#pragma once

#include <string>
#include <string_view>

#include "absl/status/statusor.h"

namespace corpgrid::gateway {

// The inside of a JSON string that matches a simple regular expression, as the body of a rule.
// Simple are characters, ".", classes, \d \w \s, groups, "|", and the repetitions ? * + {n,m}; it
// begins with "^" and ends with "$", which cannot stand elsewhere. Errors: InvalidArgument that
// says what it has instead ("has a look-ahead, which …").
absl::StatusOr<std::string> PatternToGbnf(std::string_view pattern);

}  // namespace corpgrid::gateway
