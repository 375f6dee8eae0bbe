#include "job/order_rules.h"

#include <cstdlib>
#include <set>

#include "base/text.h"
#include "fmt/format.h"

namespace corpgrid::job {

void CheckOrder(const JobFields& fields, std::vector<Problem>* problems) {
  constexpr int64_t kMaxDeadlineMs = 366 * 86'400'000ll;
  const auto add = [&](const char* path, std::string message) {
    problems->push_back({path, std::move(message)});
  };
  if (std::abs(fields.priority) > JobSpec::kMaxPriority) {
    add("priority", fmt::format("expected a number from {} to {}, got {}", -JobSpec::kMaxPriority,
                                JobSpec::kMaxPriority, fields.priority));
  }
  if (fields.after.size() > JobSpec::kMaxAfter) {
    add("after",
        fmt::format("expected at most {} jobs, got {}", JobSpec::kMaxAfter, fields.after.size()));
  }
  std::set<uint64_t> seen;
  for (const uint64_t id : fields.after) {
    if (id == 0) add("after", "0 is no job's number; `corpgrid job list` shows them");
    if (!seen.insert(id).second) add("after", fmt::format("job {} is listed twice", id));
  }
  if (fields.deadline_ms < 0 || fields.deadline_ms > kMaxDeadlineMs) {
    add("deadline", fmt::format("expected a time of at most 366d, got {}",
                                fields.deadline_ms < 0 ? "a negative one"
                                                       : FormatDuration(fields.deadline_ms)));
  }
}

}  // namespace corpgrid::job
