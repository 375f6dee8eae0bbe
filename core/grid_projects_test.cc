// Whose turn it is.

#include <string>
#include <utility>
#include <vector>

#include "core/test_projects.h"
#include "fmt/format.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace corpgrid::core {
namespace {

using ::testing::Contains;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

// Section 4.1 of the paper: 9 CPUs and 18 GB; a task of A takes 1 CPU and 4 GB, one of B 3 CPUs and
// 1 GB. A gets three of them and B two.
TEST_F(ProjectsTest, TheExampleOfThePaper) {
  const DeviceId ann = JoinWith("ann", 9, 18 * kGiB);
  Set({.name = "a"});
  Set({.name = "b"});
  Submit(Fields("b", 100, 3, 1 * kGiB), "b");
  Submit(Fields("a", 100, 1, 4 * kGiB), "a");
  const std::vector<Lease> leases = PollFor(ann, 5);
  EXPECT_EQ(Of("a", leases), 3u);
  EXPECT_EQ(Of("b", leases), 2u);
  EXPECT_NEAR(View("a").share, 2.0 / 3, 1e-9);
  EXPECT_NEAR(View("b").share, 2.0 / 3, 1e-9);
}

TEST_F(ProjectsTest, SharesAreByWeightWhateverWasThereFirst) {
  Set({.name = "a"});
  Set({.name = "b", .weight = 3});
  Submit(Fields("a", 100), "a");
  Submit(Fields("b", 100), "b");
  const DeviceId ann = Join("ann");
  std::vector<Lease> leases = PollFor(ann, 40);
  EXPECT_EQ(Of("b", leases), 30u);
  // What is freed goes to who is behind.
  std::vector<AttemptId> held;
  for (const Lease& lease : leases) {
    if (Of("b", {lease}) == 1) {
      HandIn(lease, Result(lease, "x"));
    } else {
      held.push_back(lease.attempt);
    }
  }
  leases = PollFor(ann, 30, held);
  EXPECT_EQ(Of("b", leases), 30u);
}

TEST_F(ProjectsTest, APriorityIsOneOfItsProject) {
  Set({.name = "a"});
  Set({.name = "b"});
  job::JobFields high = Fields("a", 100);
  high.priority = 100;
  const JobId low = Submit(Fields("a", 100), "low"), first = Submit(high, "high");
  Submit(Fields("b", 100), "b");
  const DeviceId ann = Join("ann");
  const std::vector<Lease> leases = PollFor(ann, 10);
  EXPECT_EQ(Of("b", leases), 5u);
  for (const Lease& lease : leases) EXPECT_NE(lease.shard.job, low);
  // It takes devices from its own project alone.
  Heartbeat beat{.device = ann, .condition = Power::kMains, .attempts = {}};
  for (const Lease& lease : leases) {
    if (Of("b", {lease}) == 1) beat.attempts.push_back({lease.attempt, 0.5});
  }
  for (int i = 0; i < 8; ++i) {
    now_ms_ += 1000;
    Apply(Tick{});
    EXPECT_THAT(std::get<std::vector<Stop>>(Apply(beat).reply), IsEmpty());
  }
  EXPECT_EQ(jobs_.at(first).progress.state, JobState::kRunning);
}

TEST_F(ProjectsTest, ARestartKeepsWhatIsUsed) {
  const DeviceId ann = Join("ann");
  Set({.name = "a", .weight = 3, .max_cpus = 5});
  Set({.name = "b"});
  Submit(Fields("a", 50), "a");
  Submit(Fields("b", 50), "b");
  const std::vector<Lease> leases = PollFor(ann, 4);
  EXPECT_EQ(Of("a", leases), 3u);
  HandIn(leases[0], Result(leases[0], "x"));
  const ProjectView before = View("a");
  Restart();
  const ProjectView after = View("a");
  EXPECT_EQ(after.row, before.row);
  EXPECT_EQ(after.cpus, before.cpus);
  EXPECT_EQ(after.memory_bytes, before.memory_bytes);
  EXPECT_EQ(after.share, before.share);
  EXPECT_EQ(after.jobs_running, 1u);
  std::vector<AttemptId> held;
  for (const Lease& lease : leases) held.push_back(lease.attempt);
  const std::vector<Lease> more = PollFor(ann, 20, held);
  EXPECT_EQ(Of("a", more) + before.attempts, 5u) << "its quota";
  now_ms_ += PastTtlMs();
  Apply(Tick{});
  EXPECT_EQ(View("a").attempts, 0u);
}

TEST_F(ProjectsTest, WhatTheGridHasIsOfDevicesThatAreThere) {
  const DeviceId ann = Join("ann"), bob = Join("bob");  // 4 CPUs each
  Set({.name = "a"});
  Submit(Fields("a", 50), "a");
  PollFor(ann, 2);
  EXPECT_NEAR(View("a").share, 2.0 / 8, 1e-9);
  now_ms_ += PastTtlMs() / 2;
  Apply(Heartbeat{ann, Power::kMains, {{AttemptId{1}, 0}, {AttemptId{2}, 0}}});
  now_ms_ += PastTtlMs() / 2 + 1;
  Apply(Tick{});
  EXPECT_NEAR(View("a").share, 2.0 / 4, 1e-9) << "bob is lost";
  Refit(ann, 16, 1024 * kGiB);
  EXPECT_NEAR(View("a").share, 2.0 / 16, 1e-9);
  Apply(Heartbeat{bob, Power::kMains, {}});
  EXPECT_NEAR(View("a").share, 2.0 / 20, 1e-9);
}

// Where one shard runs at a time, nobody uses anything when the next one is given.
TEST_F(ProjectsTest, WeightsCountAlsoWhereOneShardRunsAtATime) {
  const DeviceId ann = Join("ann");
  Set({.name = "a"});
  Set({.name = "b", .weight = 3});
  Submit(Fields("a", 100), "a");
  Submit(Fields("b", 100), "b");
  const auto of_b = [&](int shards) {
    size_t count = 0;
    for (int i = 0; i < shards; ++i) {
      const Lease lease = PollFor(ann, 1).at(0);
      count += Of("b", {lease});
      HandIn(lease, Result(lease, "x"));
    }
    return count;
  };
  EXPECT_EQ(of_b(40), 30u);
  // Who comes later has not saved anything up.
  Set({.name = "late"});
  Submit(Fields("late", 100), "late");
  EXPECT_THAT(of_b(50), ::testing::AllOf(::testing::Ge(29u), ::testing::Le(31u)));
}

// As after the scheduler's machine slept.
TEST_F(ProjectsTest, WeightsCountAsSoonAsTheFirstDeviceIsBack) {
  const DeviceId ann = Join("ann");
  Set({.name = "a"});
  Set({.name = "b", .weight = 3});
  Submit(Fields("a", 50), "a");
  Submit(Fields("b", 50), "b");
  PollFor(ann, 1);
  now_ms_ += 10 * PastTtlMs();
  Apply(Tick{});
  now_ms_ += Grid::kTotalsEveryMs / 2;
  EXPECT_EQ(Of("b", PollFor(ann, 8)), 6u);
}

TEST_F(ProjectsTest, NobodyWaitsForAProjectThatHasNothingForTheDevice) {
  const DeviceId ann = Join("ann");
  Set({.name = "huge"});
  Set({.name = "empty", .weight = 1000});
  Set({.name = "none", .max_running = 1});
  Submit(Fields("huge", 5, 64), "huge");
  Submit(Fields("none", 5), "none");
  Submit(Fields("default", 100), "default");
  const std::vector<Lease> leases = PollFor(ann, 20);
  EXPECT_EQ(Of("none", leases), 1u);
  EXPECT_EQ(Of("default", leases), 19u);
}

TEST_F(ProjectsTest, ManyProjectsGetAsMuchEach) {
  constexpr int kProjects = 200;
  for (int i = 0; i < kProjects; ++i) {
    const std::string name = fmt::format("p{}", i);
    Set({.name = name});
    Submit(Fields(name, 50), name);
  }
  const DeviceId ann = Join("ann"), bob = Join("bob");
  PollFor(ann, 256);
  PollFor(bob, 144);
  for (int i = 0; i < kProjects; ++i) {
    EXPECT_EQ(View(fmt::format("p{}", i)).attempts, 2u) << i;
  }
}

// The first project's jobs, more than are looked at for one poll, all wait for another owner, and
// so do the second one's; the third one's job does not.
TEST_F(ProjectsTest, NoProjectStarvesBehindManyJobsOfOthers) {
  const DeviceId ann = Join("ann");
  const auto next_lease = [&] {
    constexpr int kMostPolls = 4;
    std::vector<Lease> leases;
    for (int i = 0; leases.empty() && i < kMostPolls; ++i) leases = PollFor(ann, 1);
    EXPECT_THAT(leases, SizeIs(1));
    return leases.at(0);
  };
  for (const char* name : {"a", "b", "c"}) Set({.name = name});
  for (const char* name : {"a", "b"}) {
    job::JobFields two = Fields(name, 1);
    two.redundancy = {.replicas = 2, .quorum = 2};
    for (size_t i = 0; i < Grid::kMaxScanned; ++i) {
      Submit(two, fmt::format("{} {}", name, i));
      const Lease lease = next_lease();
      HandIn(lease, Result(lease, "x"));
    }
  }
  const JobId job = Submit(Fields("c", 5), "c");
  EXPECT_EQ(next_lease().shard.job, job);
}

TEST_F(ProjectsTest, WhoWaitsIsToldWhoGoesFirst) {
  const DeviceId ann = Join("ann");
  Set({.name = "a", .weight = 2});
  Set({.name = "b"});
  const JobId a = Submit(Fields("a", 50), "a");
  PollFor(ann, 2);
  const JobId b = Submit(Fields("b", 50), "b");
  EXPECT_THAT(Why(a), Contains("Project b goes first: it has 0.0 % of the grid at a weight of 1, "
                               "project a 50.0 % at a weight of 2."));
  EXPECT_THAT(Why(b), ::testing::Not(Contains(HasSubstr("goes first: it has"))));
}

TEST(WeightedShareTest, IsExactWhereFloatsAreNot) {
  const Amounts total = {.cpus = ~uint64_t{0}, .memory_bytes = uint64_t{1} << 60};
  const Amounts used = {.cpus = 1, .memory_bytes = uint64_t{1} << 59};
  EXPECT_EQ(WeightedShare(used, total, 1), uint64_t{1} << 47);
  EXPECT_EQ(WeightedShare(used, total, 2), uint64_t{1} << 46);
  EXPECT_EQ(WeightedShare({.gpus = 1}, total, 1), ~uint64_t{0}) << "of nothing";
  EXPECT_EQ(WeightedShare({}, {}, 1), 0u);
}

}  // namespace
}  // namespace corpgrid::core
