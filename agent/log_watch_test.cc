#include "agent/log_watch.h"

#include <filesystem>

#include "agent/testing.h"
#include "audit/keeper.h"
#include "audit/test_tree.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace corpgrid::agent {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

class LogWatchTest : public ::testing::Test {
 protected:
  // The scheduler shows the log `tree` at `size`, to one who knows `old_size` entries.
  void Show(const audit::TestTree& tree, uint64_t old_size, uint64_t size,
            const crypto::KeyPair& key) {
    const audit::Checkpoint checkpoint{
        .origin = audit::OriginOf(TestJob::kGrid), .size = size, .root = tree.roots[size]};
    corpgrid::v1::CheckpointResponse& reply = scheduler_.checkpoint_reply;
    reply.Clear();
    reply.set_note(audit::SignedCheckpoint::Sign(checkpoint, key).Text());
    reply.set_public_key(std::string(key.public_key().Raw()));
    const auto proof = audit::ProveConsistency(old_size, size, tree.Reader());
    if (!proof.ok()) return;
    for (const audit::TreeHash& hash : *proof) reply.add_consistency(std::string(hash.Raw()));
  }
  uint64_t KeptSize() {
    const auto keeper = audit::Keeper::Open(folder_.path(), audit::OriginOf(TestJob::kGrid));
    return keeper->kept() ? keeper->kept()->size : 0;
  }

  const corpgrid::testing::TempFolder folder_;
  const crypto::KeyPair key_ = crypto::KeyPair::Generate();
  const audit::TestTree tree_ = audit::TestTree::OfSize(12);
  FakeScheduler scheduler_;
  LogWatch watch_{&scheduler_, folder_.path()};
};

TEST_F(LogWatchTest, KeepsTheLastCheckpoint) {
  Show(tree_, 0, 5, key_);
  EXPECT_TRUE(watch_.Look().ok());
  EXPECT_EQ(KeptSize(), 5u);
  Show(tree_, 5, 12, key_);
  EXPECT_TRUE(watch_.Look().ok());
  EXPECT_EQ(KeptSize(), 12u);
  EXPECT_THAT(scheduler_.asked_sizes, ElementsAre(0, 5));
}

TEST_F(LogWatchTest, ACutTailIsFoundAndNotKept) {
  Show(tree_, 0, 12, key_);
  ASSERT_TRUE(watch_.Look().ok());
  Show(tree_, 12, 5, key_);
  const absl::Status status = watch_.Look();
  EXPECT_TRUE(absl::IsDataLoss(status)) << status;
  EXPECT_THAT(std::string(status.message()), HasSubstr("the log was cut"));
  EXPECT_EQ(KeptSize(), 12u);
}

TEST_F(LogWatchTest, AnotherBeginningIsFoundAndNotKept) {
  Show(tree_, 0, 5, key_);
  ASSERT_TRUE(watch_.Look().ok());
  audit::TestTree forged;
  for (int i = 0; i < 12; ++i) forged.Append("another");
  Show(forged, 5, 12, key_);
  const absl::Status status = watch_.Look();
  EXPECT_THAT(std::string(status.message()), HasSubstr("the log was changed"));
  EXPECT_EQ(KeptSize(), 5u);
}

TEST_F(LogWatchTest, AnotherKeyIsFound) {
  Show(tree_, 0, 5, key_);
  ASSERT_TRUE(watch_.Look().ok());
  Show(tree_, 5, 12, crypto::KeyPair::Generate());
  EXPECT_THAT(std::string(watch_.Look().message()), HasSubstr("but its key is"));
  EXPECT_EQ(KeptSize(), 5u);
}

TEST_F(LogWatchTest, WhatTheSchedulerSaysOfItselfIsToldToo) {
  Show(tree_, 0, 5, key_);
  scheduler_.checkpoint_reply.set_trouble("the audit log was cut");
  EXPECT_TRUE(absl::IsDataLoss(watch_.Look()));
  EXPECT_EQ(KeptSize(), 5u);
}

TEST_F(LogWatchTest, ASchedulerThatLacksAProofIsHeardInItsOwnWords) {
  Show(tree_, 0, 5, key_);
  ASSERT_TRUE(watch_.Look().ok());
  Show(tree_, 5, 12, key_);
  scheduler_.checkpoint_reply.clear_consistency();
  scheduler_.checkpoint_reply.set_trouble("entry 7 of the audit log is missing");
  EXPECT_THAT(std::string(watch_.Look().message()), HasSubstr("entry 7"));
  EXPECT_EQ(KeptSize(), 5u);
}

}  // namespace
}  // namespace corpgrid::agent
