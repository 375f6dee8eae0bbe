#pragma once

#include <vector>

#include "job/spec.h"

namespace corpgrid::job {

// Appends what is wrong with a bound of wrong results, where one is asked for.
void CheckMaxError(const JobFields& fields, std::vector<Problem>* problems);

}  // namespace corpgrid::job
