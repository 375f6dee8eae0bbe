#pragma once

#include <cstddef>
#include <string_view>

#include "absl/status/statusor.h"

namespace corpgrid::inference {

// What a grammar costs whoever follows it.
struct GrammarCost {
  // Of one rule, at most: the library tries each one by itself where the rule begins, also those
  // that lead through the same rules again.
  static constexpr double kMaxBeginnings = 8192;

  double beginnings = 0;
  size_t bytes = 0;  // about what it takes once it is compiled
};

// Reads a grammar (GBNF) as far as this takes; the library checks the rest. Errors: InvalidArgument
// for a rule that begins with itself and for one with too many beginnings.
absl::StatusOr<GrammarCost> CostOf(std::string_view grammar);

}  // namespace corpgrid::inference
