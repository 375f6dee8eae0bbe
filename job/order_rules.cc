#include "job/order_rules.h"

#include <algorithm>
#include <cstdlib>
#include <set>
#include <utility>

#include "base/text.h"
#include "fmt/format.h"
#include "job/text.h"

namespace corpgrid::job {

std::string ProjectNameProblem(std::string_view name) {
  const auto plain = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
  };
  const bool good = !name.empty() && name.size() <= JobSpec::kMaxProjectBytes && plain(name[0]) &&
                    std::all_of(name.begin(), name.end(), [&](char c) {
                      return plain(c) || c == '-' || c == '_' || c == '.';
                    });
  if (good) return "";
  return fmt::format(
      "the name of a project has 1 to {} letters, digits, '-', '_' and '.', and begins with a "
      "letter or a digit, got {}",
      JobSpec::kMaxProjectBytes, Quote(name));
}

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
  if (std::string problem = ProjectNameProblem(fields.project); !problem.empty()) {
    add("project", std::move(problem));
  }
}

}  // namespace corpgrid::job
