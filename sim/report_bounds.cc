// What jobs are told of their results, against what is true.

#include <algorithm>

#include "fmt/format.h"
#include "sim/report.h"

namespace corpgrid::sim {
namespace {

double Median(std::vector<double> values) {
  if (values.empty()) return 0;
  const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

bool Holds(const JobBound& job) { return job.wrong <= job.bound * job.shards + 1e-6; }

}  // namespace

double CoverageOf(const std::vector<JobBound>& bounds) {
  const auto held = std::count_if(bounds.begin(), bounds.end(), Holds);
  return bounds.empty() ? 1 : static_cast<double>(held) / static_cast<double>(bounds.size());
}

std::string BoundsTable(const std::vector<std::pair<std::string, Report>>& reports) {
  std::string text = fmt::format("{:<24}{:>6}{:>10}{:>10}{:>10}{:>12}{:>10}\n", "liars", "jobs",
                                 "checked", "mended", "wrong", "told (med)", "holds");
  for (const auto& [name, report] : reports) {
    uint64_t shards = 0, wrong = 0, checked = 0, mended = 0;
    std::vector<double> told;
    for (const JobBound& job : report.bounds) {
      shards += job.shards;
      wrong += job.wrong;
      checked += job.checked;
      mended += job.found_wrong;
      told.push_back(job.bound);
    }
    const double all = static_cast<double>(std::max<uint64_t>(shards, 1)) / 100;
    text += fmt::format("{:<24}{:>6}{:>9.2f}%{:>9.3f}%{:>9.3f}%{:>11.2f}%{:>9.1f}%\n", name,
                        report.bounds.size(), static_cast<double>(checked) / all,
                        static_cast<double>(mended) / all, static_cast<double>(wrong) / all,
                        100 * Median(std::move(told)), 100 * CoverageOf(report.bounds));
  }
  return text;
}

}  // namespace corpgrid::sim
