#pragma once

#include <functional>
#include <string>
#include <vector>

#include "absl/status/status.h"

namespace corpgrid::inference {

// The types that weights can be written in, by the names that people know: "Q4_K_M". The smallest
// last; those that want data on what is important, which is not supported, are left out.
std::vector<std::string> QuantisationTypes();

// Writes the model in `from` (the first file, when it is split) to `to`, one file, in that type.
// `on_progress` hears of 0..1. Any thread, one call at a time. Errors: InvalidArgument that lists
// the types, or with the library's words; ResourceExhausted when the disk is full.
absl::Status Quantise(const std::string& from, const std::string& to, const std::string& type,
                      const std::function<void(double)>& on_progress);

}  // namespace corpgrid::inference
