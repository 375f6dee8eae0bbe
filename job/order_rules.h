#pragma once

#include <vector>

#include "job/spec.h"

namespace corpgrid::job {

// Adds what is wrong with the fields that say when a job runs: `priority`, `after`, `deadline`,
// `project`.
void CheckOrder(const JobFields& fields, std::vector<Problem>* problems);

}  // namespace corpgrid::job
