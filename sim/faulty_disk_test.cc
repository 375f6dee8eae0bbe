#include "sim/faulty_disk.h"

#include <memory>
#include <string>

#include "base/testing/temp_folder.h"
#include "gtest/gtest.h"
#include "store/store.h"

namespace corpgrid::sim {
namespace {

// Commits batches of 20 tokens to a store on a disk whose power fails again and again.
class FaultyDiskTest : public ::testing::Test {
 protected:
  bool Open() {
    auto opened = store::OpenSqlite(folder_ / "state.db");
    if (!opened.ok()) return false;
    store_ = *std::move(opened);
    const absl::StatusOr<core::Snapshot> loaded = store_->Load();
    if (!loaded.ok()) return false;
    meta_ = loaded->meta;
    tokens_ = loaded->join_tokens.size();
    return true;
  }

  absl::Status CommitNext() {
    core::WriteBatch batch;
    batch.meta = meta_;
    ++batch.meta->batch;
    for (int i = 0; i < kTokens; ++i) {
      const std::string key = std::to_string(batch.meta->batch) + "/" + std::to_string(i);
      batch.join_tokens.push_back({.secret_hash = crypto::Blake3(key),
                                   .owner = std::string(400, 'x'),
                                   .uses_left = 1,
                                   .idempotency_key = key});
    }
    const absl::Status status = store_->Commit(batch);
    if (status.ok()) meta_.batch = batch.meta->batch;
    return status;
  }

  // Rounds in which something acknowledged was gone, or the store was damaged.
  int LossesIn(int rounds) {
    Random random(5);
    int losses = 0;
    for (int round = 0; round < rounds; ++round) {
      if (!Open()) return losses + 1;  // It cannot be read any more.
      if (tokens_ != meta_.batch * kTokens) ++losses;
      disk_.CutPower(random.Below(3'000));
      while (disk_.powered()) CommitNext().IgnoreError();
      const uint64_t acknowledged = meta_.batch;
      disk_.Crash(/*torn=*/true, /*lost=*/true);
      store_.reset();
      if (!Open()) return losses + 1;
      if (meta_.batch < acknowledged) ++losses;
      store_.reset();
    }
    return losses;
  }

  static constexpr int kTokens = 20;
  corpgrid::testing::TempFolder folder_;
  FaultyDisk disk_{3};
  std::unique_ptr<store::Store> store_;
  core::MetaRow meta_;
  uint64_t tokens_ = 0;
};

TEST_F(FaultyDiskTest, WhatWasSyncedOutlivesEachPowerCut) { EXPECT_EQ(LossesIn(30), 0); }

TEST_F(FaultyDiskTest, ADiskThatLiesAboutSyncsLosesWhatWasAcknowledged) {
  disk_.LoseSyncs(true);
  EXPECT_GT(LossesIn(60), 0);
}

TEST_F(FaultyDiskTest, AProcessThatDiesAloneLosesNothingThatWasAcknowledged) {
  disk_.LoseSyncs(true);  // The system has it all the same.
  ASSERT_TRUE(Open());
  ASSERT_TRUE(CommitNext().ok());
  disk_.Crash(/*torn=*/false, /*lost=*/false);
  store_.reset();
  ASSERT_TRUE(Open());
  EXPECT_EQ(meta_.batch, 1u);
}

TEST_F(FaultyDiskTest, FaultsComeOnceAndAreSaid) {
  ASSERT_TRUE(Open());
  disk_.FailWrite(0, SQLITE_FULL);
  EXPECT_TRUE(absl::IsResourceExhausted(CommitNext()));
  disk_.FailSync(/*does_it=*/false);
  EXPECT_TRUE(absl::IsUnavailable(CommitNext()));
  EXPECT_TRUE(CommitNext().ok());
  disk_.CutPower(0);
  EXPECT_FALSE(CommitNext().ok());
  EXPECT_FALSE(store_->Load().ok()) << "nothing works without power";
  EXPECT_FALSE(disk_.powered());
  disk_.Crash(/*torn=*/true, /*lost=*/true);
  EXPECT_FALSE(CommitNext().ok()) << "the old program is dead";
  store_.reset();
  ASSERT_TRUE(Open());
  EXPECT_EQ(meta_.batch, 1u);
}

}  // namespace
}  // namespace corpgrid::sim
