#include "sim/simulation.h"

#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace corpgrid::sim {
namespace {

using ::testing::HasSubstr;

Options Small(uint64_t seed) {
  Options options;
  options.seed = seed;
  options.devices = 24;
  options.fault_events = 30'000;
  return options;
}

TEST(SimulationTest, TheSameSeedGivesTheSameRun) {
  const Report first = Simulation(Small(3)).Run();
  const Report second = Simulation(Small(3)).Run();
  EXPECT_EQ(first.hash, second.hash);
  EXPECT_EQ(first.events, second.events);
  EXPECT_EQ(first.faults, second.faults);
  EXPECT_NE(first.hash, Simulation(Small(4)).Run().hash);
}

TEST(SimulationTest, WithoutFaultsNothingStrikesAndNobodyLies) {
  Options options = Small(5);
  options.faults = false;
  const Report report = Simulation(options).Run();
  EXPECT_EQ(report.violations, 0u) << report.messages.at(0);
  for (size_t i = 0; i < kFaultKinds; ++i) {
    EXPECT_EQ(report.faults[i], 0u) << ToText(static_cast<Fault>(i));
  }
  EXPECT_EQ(report.lies_accepted, 0u);
  EXPECT_GT(report.jobs_done, 20u);
}

TEST(SimulationTest, TheDaemonsStoreComesThroughOnADiskThatFails) {
  Report sum;
  for (uint64_t seed = 1; seed <= 3; ++seed) {
    Options options = Small(seed);
    options.store = StoreKind::kSqlite;
    Add(Simulation(options).Run(), &sum);
  }
  EXPECT_EQ(sum.violations, 0u) << sum.messages.at(0);
  const auto count = [&](Fault fault) { return sum.faults[static_cast<size_t>(fault)]; };
  EXPECT_GT(count(Fault::kDiskFull) + count(Fault::kDiskError) + count(Fault::kSyncError), 0u);
  EXPECT_GT(count(Fault::kCrashInsideCommit), 0u);
  EXPECT_GT(sum.shards_done, 300u);
}

TEST(SimulationTest, FaultsForAGivenTimeThenCalm) {
  Options options = Small(6);
  options.fault_events = 0;
  options.fault_ms = 120'000;
  const Report report = Simulation(options).Run();
  EXPECT_EQ(report.violations, 0u);
  EXPECT_GE(report.simulated_ms - report.calm_ms, 120'000);
  EXPECT_LT(report.simulated_ms - report.calm_ms, 130'000);
}

TEST(SimulationTest, TheSmallestGridEndsToo) {
  uint64_t starved = 0;
  for (uint64_t seed = 1; seed <= 10; ++seed) {
    Options options = Small(seed);
    options.devices = 1;
    const Report report = Simulation(options).Run();
    EXPECT_EQ(report.violations, 0u) << report.messages.at(0);
    starved += report.jobs_starved;
  }
  EXPECT_GT(starved, 0u) << "a quorum of two owners cannot be had from one device";
}

TEST(ReportTest, AFailureSaysWhatRepeatsIt) {
  Report run;
  run.runs = 1;
  run.violations = 1;
  run.messages = {"of seed 9 at 5 ms: a lie won"};
  run.failed = {CommandOf(Small(9))};
  Report sum;
  Add(run, &sum);
  const std::string text = ToText(sum, 1'000);
  EXPECT_THAT(text, HasSubstr("reproduce: corpgrid-sim --seed 9 --devices 24 --events 30000\n"));
  EXPECT_THAT(text, HasSubstr("a lie won"));
  EXPECT_TRUE(text.ends_with("violations: 1\n"));
  EXPECT_THAT(ToJson(sum, 1'000), HasSubstr("\"violations\":1"));
}

TEST(RandomTest, HasTheNumbersOfXoshiro256StarStar) {
  // splitmix64's first output for the seed 1234567, from its author's test vectors.
  uint64_t state = 1234567;
  EXPECT_EQ(Random::SplitMix(&state), 6457827717110365317u);
  EXPECT_EQ(Random::SplitMix(&state), 3203168211198807973u);
  Random random(42);
  uint64_t sum = 0;
  for (int i = 0; i < 1000; ++i) {
    EXPECT_LT(random.Below(7), 7u);
    const int64_t between = random.Between(-3, 3);
    EXPECT_TRUE(between >= -3 && between <= 3);
    sum += random.Below(1000);
  }
  EXPECT_NEAR(static_cast<double>(sum) / 1000, 499.5, 30);
}

}  // namespace
}  // namespace corpgrid::sim
