// What projects are, and what they may use.

#include <string>
#include <utility>
#include <vector>

#include "core/test_projects.h"
#include "fmt/format.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace corpgrid::core {
namespace {

using QuotasTest = ProjectsTest;
using ::testing::Contains;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

TEST_F(QuotasTest, EachQuotaHolds) {
  const DeviceId ann = JoinWith("ann", 8, 64 * kGiB);
  const struct {
    SetProject set;
    uint32_t cpus;
    uint64_t memory_bytes;
    size_t fit;
    std::string why;
  } cases[] = {
      {{.name = "c", .max_cpus = 7}, 2, kGiB, 3, "it uses 6 of 7 CPUs, and a shard asks for 2"},
      {{.name = "m", .max_memory_bytes = 9 * kGiB},
       1,
       4 * kGiB,
       2,
       "it uses 8 GiB of 9 GiB of memory, and a shard asks for 4 GiB"},
      {{.name = "r", .max_running = 4}, 1, kGiB, 4, "it runs 4 of 4 shards"},
  };
  for (const auto& [set, cpus, memory_bytes, fit, why] : cases) {
    ASSERT_TRUE(Do(set).ok());
    const JobId job = Submit(Fields(set.name, 50, cpus, memory_bytes), set.name);
    std::vector<Lease> leases = PollFor(ann, 20);
    EXPECT_THAT(leases, SizeIs(fit)) << set.name;
    EXPECT_THAT(Why(job), Contains(HasSubstr(why)));
    // What ends makes room, and a device that waits hears of it.
    EXPECT_THAT(PollFor(ann, 20, {leases[0].attempt}), SizeIs(fit - 1)) << "given again";
    std::vector<AttemptId> held;
    for (const Lease& lease : leases) held.push_back(lease.attempt);
    EXPECT_THAT(PollFor(ann, 20, held), IsEmpty());
    HandIn(leases[0], Result(leases[0], "x"));
    EXPECT_THAT(last_.leases, SizeIs(1)) << set.name;
    Apply(CancelJob{job});
  }
}

TEST_F(QuotasTest, AQuotaOfGpusCountsWhatNeedsOne) {
  const DeviceId ann = Join("ann");
  constexpr uint32_t kCpuAndCuda = 3;
  Refit(ann, 8, 64 * kGiB, kCpuAndCuda);
  Set({.name = "a", .max_gpus = 2});
  job::JobFields fields = Fields("a", 10);
  fields.resources.backends = {job::Backend::kCuda};
  Submit(fields, "gpu");
  fields.resources.backends = {job::Backend::kCuda, job::Backend::kCpu};
  const JobId either = Submit(fields, "either");
  const std::vector<Lease> leases = PollFor(ann, 5);
  ASSERT_THAT(leases, SizeIs(5));
  EXPECT_EQ(leases[2].shard.job, either) << "a CPU does as well";
  EXPECT_EQ(View("a").gpus, 2u);
}

TEST_F(QuotasTest, AQuotaBelowWhatIsUsedStopsNothingAndGrantsNothing) {
  const DeviceId ann = Join("ann");
  Set({.name = "a"});
  Submit(Fields("a", 50), "a");
  std::vector<Lease> leases = PollFor(ann, 6);
  Set({.name = "a", .max_cpus = 4});
  std::vector<AttemptId> held;
  Heartbeat beat{.device = ann, .condition = Power::kMains, .attempts = {}};
  for (const Lease& lease : leases) beat.attempts.push_back({lease.attempt, 0.5});
  EXPECT_THAT(std::get<std::vector<Stop>>(Apply(beat).reply), IsEmpty());
  for (int i = 0; i < 2; ++i) HandIn(leases[i], Result(leases[i], "x"));
  for (size_t i = 2; i < 6; ++i) held.push_back(leases[i].attempt);
  EXPECT_THAT(PollFor(ann, 6, held), IsEmpty()) << "4 of 4";
  EXPECT_THAT(Apply(SetProject{.name = "a", .max_cpus = 5}).leases, SizeIs(1))
      << "who waits gets what a raised quota allows";
  EXPECT_THAT(PollFor(ann, 6, held), SizeIs(1)) << "the same again";
  Set({.name = "a", .max_cpus = ProjectRow::kNoLimit});
  held.push_back(AttemptId{7});
  EXPECT_THAT(PollFor(ann, 6, held), SizeIs(6));
}

TEST_F(QuotasTest, WhatCanNeverRunIsRefused) {
  EXPECT_THAT(WhyNot(Fields("defualt", 1)),
              HasSubstr("there is no project defualt; did you mean default?; there is: default"));
  Set({.name = "a", .max_cpus = 4, .max_queued = 2});
  EXPECT_THAT(
      WhyNot(Fields("a", 1, 5)),
      HasSubstr("project a has no room for this job even while idle: it uses 0 of 4 CPUs, and a "
                "shard asks for 5"));
  EXPECT_EQ(View("a").jobs_queued, 0u);
  const JobId job = Submit(Fields("a", 1, 4), "1");
  Submit(Fields("a", 1, 4), "2");
  EXPECT_THAT(WhyNot(Fields("a", 1, 4)), HasSubstr("project a has 2 of 2 queued jobs"));
  EXPECT_EQ(std::get<Submitted>(TrySubmit(Fields("a", 1, 4), "2")).existed, true);
  PollFor(Join("ann"), 1);
  EXPECT_EQ(jobs_.at(job).progress.state, JobState::kRunning);
  EXPECT_EQ(WhyNot(Fields("a", 1, 4)), "accepted");
}

TEST_F(QuotasTest, OnlyAProjectWithoutWorkIsRemoved) {
  Set({.name = "a", .weight = 7, .max_cpus = 4});
  const JobId job = Submit(Fields("a", 1), "1");
  EXPECT_THAT(std::string(Do(RemoveProject{"a"}).message()),
              HasSubstr("project a has unfinished jobs (1)"));
  EXPECT_FALSE(Do(RemoveProject{"default"}).ok());
  Apply(CancelJob{job});
  EXPECT_TRUE(Do(RemoveProject{"a"}).ok());
  EXPECT_TRUE(Do(RemoveProject{"a"}).ok()) << "the answer may have been lost";
  EXPECT_THAT(WhyNot(Fields("a", 1)), HasSubstr("there is no project a"));
  Restart();
  EXPECT_THAT(WhyNot(Fields("a", 1)), HasSubstr("there is no project a"));
  Set({.name = "a"});
  EXPECT_EQ(View("a").row, ProjectRow{.name = "a"}) << "nothing is left of the old one";
  EXPECT_THAT(audit_.back().entry, HasSubstr(R"("event":"project set")"));
}

TEST_F(QuotasTest, ASettingThatChangesNothingIsNoEntry) {
  Set({.name = "a", .max_running = 5});
  const size_t entries = audit_.size();
  Set({.name = "a", .max_running = 5});
  Set({.name = "a"});
  EXPECT_THAT(audit_, SizeIs(entries));
  Set({.name = "a", .weight = 2});
  EXPECT_THAT(audit_.back().entry, HasSubstr(R"("weight":2,"max_running":5)"));
  for (const auto& wrong :
       {SetProject{.name = "a", .weight = 0}, SetProject{.name = "a", .weight = 1001},
        SetProject{.name = "a b"}, SetProject{.name = ""}}) {
    EXPECT_TRUE(absl::IsInvalidArgument(Do(wrong)));
  }
}

}  // namespace
}  // namespace corpgrid::core
