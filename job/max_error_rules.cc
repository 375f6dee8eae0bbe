#include "job/max_error_rules.h"

#include <cmath>

#include "fmt/format.h"

namespace corpgrid::job {

void CheckMaxError(const JobFields& fields, std::vector<Problem>* problems) {
  const Redundancy& redundancy = fields.redundancy;
  if (redundancy.max_error == 0) return;
  const auto add = [&](std::string message) {
    problems->push_back({"redundancy.max_error", std::move(message)});
  };
  if (std::signbit(redundancy.max_error) || !(redundancy.max_error < 1)) {
    add(fmt::format("expected a share of the results between 0 and 1, as in 1e-4, got {}",
                    redundancy.max_error));
  }
  if (redundancy.replicas != 1 || redundancy.quorum != 1) {
    add("with max_error the grid chooses replicas and quorum itself: leave them out");
  }
  if (fields.shards > JobSpec::kMaxShardsWithMaxError) {
    add(fmt::format("a job that asks for it has at most {} shards, got {}",
                    JobSpec::kMaxShardsWithMaxError, fields.shards));
  }
}

}  // namespace corpgrid::job
