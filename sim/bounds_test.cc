// What jobs are told of their results, among liars of several kinds.

#include <cmath>
#include <string>
#include <utility>
#include <vector>

#include "fmt/format.h"
#include "gtest/gtest.h"
#include "sim/simulation.h"

namespace corpgrid::sim {
namespace {

Report AmongLiars(double liars, bool colluding, Seams* seams = nullptr) {
  constexpr uint64_t kSeeds = 3;
  Report sum;
  for (uint64_t seed = 1; seed <= kSeeds; ++seed) {
    Options options;
    options.seed = seed;
    options.devices = 100;
    options.fault_events = 150'000;
    options.liars = liars;
    options.colluding = colluding;
    Add(Simulation(options, seams).Run(), &sum);
  }
  return sum;
}

TEST(BoundsTest, HoldAmongLiarsWhoColludeAndWhoDoNot) {
  std::vector<std::pair<std::string, Report>> reports;
  for (const bool colluding : {false, true}) {
    for (const double liars : {0.01, 0.05, 0.2, 0.4}) {
      const auto& [name, report] = reports.emplace_back(
          fmt::format("{:.0f} %{}", 100 * liars, colluding ? ", colluding" : ""),
          AmongLiars(liars, colluding));
      EXPECT_EQ(report.violations, 0u) << name << ": " << report.messages.at(0);
      const double jobs = static_cast<double>(report.bounds.size());
      EXPECT_GT(jobs, 60) << name;
      // Two standard deviations less than is told, as so few jobs may have bad luck.
      EXPECT_GE(CoverageOf(report.bounds), 0.95 - 2 * std::sqrt(0.95 * 0.05 / jobs)) << name;
    }
  }
  fmt::print("{}", BoundsTable(reports));
  const auto wrong = [](const Report& report) {
    uint64_t count = 0;
    for (const JobBound& job : report.bounds) count += job.wrong + job.found_wrong;
    return count;
  };
  EXPECT_GT(wrong(reports.back().second), 100u) << "liars who fool nobody would show nothing";
}

// A scheduler that keeps what its audits found for itself tells jobs too little.
struct TellsOfNoWrongOnes : Seams {
  bool BeforeWrite(core::WriteBatch* rows) override {
    for (core::JobProgressRow& row : rows->job_progress) {
      if (row.state == core::JobState::kDone) row.bound_billionths /= 8;
    }
    return true;
  }
};

TEST(BoundsTest, ABoundThatIsToldTooSmallIsFound) {
  TellsOfNoWrongOnes seams;
  const Report report = AmongLiars(0.4, true, &seams);
  EXPECT_LT(CoverageOf(report.bounds), 0.9);
}

}  // namespace
}  // namespace corpgrid::sim
