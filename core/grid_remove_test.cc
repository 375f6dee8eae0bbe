// How jobs that have ended are forgotten.

#include <string>
#include <vector>

#include "core/test_grid.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace corpgrid::core {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

class RemoveTest : public ::testing::Test, protected TestGrid {
 protected:
  RemoveTest() { device_ = Join("ada"); }

  void Keep(int64_t ms) {
    config_.keep_jobs_ms = ms;
    Restart();
  }

  // A job that is done at now_ms_.
  JobId Done(uint32_t shards, const std::string& key) {
    const JobId job = Submit(shards, 1, 1, 0, key);
    for (uint32_t left = shards; left > 0;) {
      for (const Lease& lease : PollFor(device_, left)) {
        HandIn(lease, Result(lease, "out"));
        --left;
      }
    }
    return job;
  }

  absl::Status Remove(JobId job) {
    last_ = Apply(RemoveJob{job});
    return std::get<absl::Status>(last_.reply);
  }

  Effects TickAfter(int64_t ms) {
    now_ms_ += ms;
    return Apply(Tick{});
  }

  DeviceId device_;
};

TEST_F(RemoveTest, ARemovedJobIsForgottenAtOnceAndItsRowsWithTheNextTick) {
  const JobId job = Done(3, "key");
  const JobId other = Done(1, "other");
  ++now_ms_;
  ASSERT_TRUE(Remove(job).ok());
  EXPECT_THAT(last_.removed, ElementsAre(job));
  EXPECT_EQ(jobs_.at(job).progress.state, JobState::kRemoved);
  EXPECT_THAT(audit_.back().entry, HasSubstr(R"("event":"job removed")"));
  EXPECT_EQ(std::get<Submitted>(Apply(FindJob{"key"}).reply).job, JobId{});
  EXPECT_EQ(shards_.size(), 4u);
  TickAfter(1);
  EXPECT_FALSE(jobs_.contains(job));
  EXPECT_TRUE(jobs_.contains(other));
  EXPECT_EQ(shards_.size(), 1u);
  EXPECT_EQ(attempts_.size(), 1u);
  EXPECT_EQ(results_.size(), 1u);
}

TEST_F(RemoveTest, TheKeyOfARemovedJobMakesANewOne) {
  const JobId job = Done(1, "key");
  ++now_ms_;
  EXPECT_EQ(Submit(1, 1, 1, 0, "key"), job);
  ASSERT_TRUE(Remove(job).ok());
  const JobId again = Submit(1, 1, 1, 0, "key");
  EXPECT_GT(again, job);
  Restart();  // while rows of the removed one are still there
  EXPECT_EQ(Submit(1, 1, 1, 0, "key"), again);
}

TEST_F(RemoveTest, OnlyWhatHasEndedIsRemoved) {
  const JobId queued = Submit(1, 1, 1, 0, "queued");
  EXPECT_TRUE(absl::IsFailedPrecondition(Remove(queued)));
  Apply(CancelJob{queued});
  EXPECT_TRUE(absl::IsFailedPrecondition(Remove(queued))) << "its end is not committed yet";
  EXPECT_TRUE(absl::IsNotFound(Remove(JobId{9})));
  EXPECT_TRUE(absl::IsNotFound(Remove(JobId{})));
  ++now_ms_;
  EXPECT_TRUE(Remove(queued).ok());
  EXPECT_TRUE(Remove(queued).ok()) << "a repeated call";
  EXPECT_THAT(last_.removed, IsEmpty());
  TickAfter(1);
  EXPECT_TRUE(Remove(queued).ok()) << "also when its rows are gone";
}

TEST_F(RemoveTest, NothingFollowsARemovedJob) {
  const JobId job = Done(1, "key");
  ++now_ms_;
  ASSERT_TRUE(Remove(job).ok());
  job::JobFields fields;
  fields.name = "follower";
  fields.command = {"/bin/true"};
  fields.after = {job.value};
  const Reply reply = Apply(SubmitJob{.idempotency_key = "follower",
                                      .spec = job::JobSpec::Make(fields).value(),
                                      .spec_hash = {},
                                      .bundle_hash = {},
                                      .bundle_bytes = 0,
                                      .submitter_key = "",
                                      .signature = ""})
                          .reply;
  EXPECT_TRUE(absl::IsNotFound(std::get<absl::Status>(reply)));
}

TEST_F(RemoveTest, AJobStillWaitsForTheSecondWhenTheFirstThatItFollowedIsGone) {
  const JobId first = Done(1, "first");
  const JobId second = Submit(1, 1, 1, 0, "second");
  job::JobFields fields;
  fields.name = "follower";
  fields.command = {"/bin/true"};
  fields.after = {first.value, second.value};
  const JobId follower = Submit(fields, "follower");
  ++now_ms_;
  ASSERT_TRUE(Remove(first).ok());
  Restart();
  std::vector<JobId> leased;
  for (const Lease& lease : PollFor(device_, 9)) leased.push_back(lease.shard.job);
  EXPECT_THAT(leased, ElementsAre(second)) << "not " << follower.value;
}

TEST_F(RemoveTest, JobsGoWhenTheirTimeIsOver) {
  Keep(10'000);
  const JobId early = Done(1, "early");
  now_ms_ += 4'000;
  const JobId late = Done(1, "late");
  const JobId running = Submit(1, 1, 1, 0, "running");
  EXPECT_THAT(TickAfter(5'999).removed, IsEmpty());
  EXPECT_THAT(TickAfter(1).removed, ElementsAre(early));
  Restart();
  EXPECT_THAT(TickAfter(3'999).removed, IsEmpty());
  EXPECT_THAT(TickAfter(1).removed, ElementsAre(late));
  EXPECT_THAT(TickAfter(1'000'000).removed, IsEmpty());
  EXPECT_EQ(jobs_.size(), 1u);
  EXPECT_TRUE(jobs_.contains(running));
}

TEST_F(RemoveTest, ForEverIsForEver) {
  Keep(0);
  Done(1, "key");
  EXPECT_THAT(TickAfter(int64_t{1} << 50).removed, IsEmpty());
}

TEST_F(RemoveTest, ALargeJobGoesInSlicesAlsoOverARestart) {
  constexpr uint32_t kShards = 2 * Grid::kShardsRemovedATick + 10;
  const JobId job = Done(kShards, "key");
  ++now_ms_;
  ASSERT_TRUE(Remove(job).ok());
  TickAfter(1);
  EXPECT_EQ(shards_.size(), kShards - Grid::kShardsRemovedATick);
  Restart();
  TickAfter(1);
  EXPECT_EQ(shards_.size(), 10u);
  EXPECT_TRUE(jobs_.contains(job));
  TickAfter(1);
  EXPECT_THAT(shards_, IsEmpty());
  EXPECT_THAT(jobs_, IsEmpty());
}

TEST_F(RemoveTest, ATickRemovesSoManyJobsAndNoMore) {
  Keep(1'000);
  for (size_t i = 0; i < Grid::kJobsRemovedATick + 5; ++i) Done(1, std::to_string(i));
  EXPECT_EQ(TickAfter(1'000).removed.size(), Grid::kJobsRemovedATick);
  EXPECT_EQ(TickAfter(0).removed.size(), 5u);
}

}  // namespace
}  // namespace corpgrid::core
