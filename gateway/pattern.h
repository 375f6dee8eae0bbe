#pragma once

#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "gateway/gbnf.h"

namespace corpgrid::gateway {

// The inside of a JSON string in which a simple regular expression (UTF-8) finds something, as the
// body of a rule of `grammar`. Simple are characters, ".", classes, \d \w \s, groups, "|", and the
// repetitions ? * + {n,m}. Without "^" at its start or "$" at its end anything may be before or
// after it; where only some alternatives have one, it counts for all. Errors: InvalidArgument that
// says what it has instead ("has a look-ahead, which …").
absl::StatusOr<std::string> PatternToGbnf(std::string_view pattern, Gbnf* grammar);

}  // namespace corpgrid::gateway
