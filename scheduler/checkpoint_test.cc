// Saved states over a real connection: who may store them, who may read them.

#include <string>

#include "gtest/gtest.h"
#include "scheduler/test_scheduler.h"

namespace corpgrid::scheduler {
namespace {

TEST_F(SchedulerTest, AStateIsThereForWhoGoesOnFromItAndForNobodyElse) {
  pb::SubmitResponse submitted;
  with_checkpoints_ = true;
  ASSERT_TRUE(Submit("key", &submitted).ok());
  const auto ann = Agent("ann"), bob = Agent("bob");
  const pb::Lease a = ann->Poll(1, 1000).leases(0), b = bob->Poll(1, 1000).leases(0);
  EXPECT_EQ(a.checkpoint_hash(), "");
  EXPECT_FALSE(ann->Report(a, "@state-0", "never uploaded").ok());
  ASSERT_TRUE(ann->Upload(a, "@state-0", "one").ok());
  EXPECT_FALSE(ann->Report(a, "@state-1", "one").ok()) << "another name";
  EXPECT_FALSE(ann->Report(a, "@state-0", "two").ok()) << "other bytes";
  EXPECT_FALSE(bob->Report(a, "@state-0", "one").ok()) << "another's lease";
  EXPECT_FALSE(ann->Report(a, "out", "one").ok());
  ASSERT_TRUE(ann->Report(a, "@state-0", "one").ok());
  ASSERT_TRUE(ann->Upload(a, "@state-1", std::string(100'000, '2')).ok());
  Restart();
  ASSERT_TRUE(ann->Register("").ok());
  ASSERT_TRUE(bob->Register("").ok());
  // What was staged is still known, what was reported still named.
  std::string got;
  const pb::Lease again = ann->Poll(1, 1000).leases(0);
  EXPECT_EQ(again.checkpoint_hash(), crypto::Blake3("one").Raw());
  ASSERT_TRUE(ann->Download(again, crypto::Blake3("one"), &got).ok());
  EXPECT_EQ(got, "one");
  ASSERT_TRUE(ann->Report(a, "@state-1", std::string(100'000, '2')).ok());
  EXPECT_TRUE(absl::IsPermissionDenied(bob->Download(b, crypto::Blake3("one"), &got)));
  // The one before is gone.
  EXPECT_FALSE(ann->Download(again, crypto::Blake3("one"), &got).ok());
}

TEST_F(SchedulerTest, AJobWithoutCheckpointsStoresNone) {
  pb::SubmitResponse submitted;
  ASSERT_TRUE(Submit("key", &submitted).ok());
  const auto ann = Agent("ann");
  const pb::PollJobsResponse work = ann->Poll(1, 1000);
  EXPECT_TRUE(absl::IsPermissionDenied(ann->Upload(work.leases(0), "@state-0", "state").status()));
}

}  // namespace
}  // namespace corpgrid::scheduler
