// Whether the simulator finds bugs: each mutant within a budget of events in which the scheduler as
// it is comes through clean.

#include <string>

#include "fmt/format.h"
#include "gtest/gtest.h"
#include "sim/simulation.h"
#include "sim/test_mutants.h"
#include "sim/test_project_mutants.h"
#include "sim/test_version_mutants.h"

namespace corpgrid::sim {
namespace {

constexpr uint64_t kSeeds = 8;
constexpr uint64_t kFaultEvents = 20'000;  // a seed; the calm comes on top

Report RunSeed(uint64_t seed, Seams* seams) {
  Options options;
  options.seed = seed;
  options.devices = 24;
  options.fault_events = kFaultEvents;
  return Simulation(options, seams).Run();
}

TEST(MutantsTest, TheSchedulerAsItIsComesThrough) {
  for (uint64_t seed = 1; seed <= kSeeds; ++seed) {
    const Report report = RunSeed(seed, nullptr);
    EXPECT_EQ(report.violations, 0u) << seed << ": " << report.messages.at(0);
    EXPECT_GT(report.shards_done, 50u) << seed;
  }
}

class MutantTest : public ::testing::TestWithParam<Mutant> {};

TEST_P(MutantTest, IsFound) {
  uint64_t events = 0;
  for (uint64_t seed = 1; seed <= kSeeds; ++seed) {
    const std::unique_ptr<Seams> seams = GetParam().make();
    const Report report = RunSeed(seed, seams.get());
    events += report.events;
    if (report.violations == 0) continue;
    fmt::print("found after {} events: {}\n", events, report.messages.at(0));
    return;
  }
  FAIL() << "not found in " << events << " events";
}

INSTANTIATE_TEST_SUITE_P(Each, MutantTest, ::testing::ValuesIn(Mutants()),
                         [](const auto& info) { return info.param.name; });

INSTANTIATE_TEST_SUITE_P(OfProjects, MutantTest, ::testing::ValuesIn(ProjectMutants()),
                         [](const auto& info) { return info.param.name; });

INSTANTIATE_TEST_SUITE_P(OfVersions, MutantTest, ::testing::ValuesIn(VersionMutants()),
                         [](const auto& info) { return info.param.name; });

}  // namespace
}  // namespace corpgrid::sim
