#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "job/spec.h"

namespace corpgrid::job {

// Adds what is wrong with the fields that say which devices may run a job: `placement`.
void CheckPlacement(const JobFields& fields, std::vector<Problem>* problems);

// A device's labels, in order and each once. Errors: InvalidArgument when one breaks the rules of
// LabelProblem, or there are more than JobSpec::kMaxLabels.
absl::StatusOr<std::vector<std::string>> CheckLabels(std::vector<std::string> labels);

}  // namespace corpgrid::job
