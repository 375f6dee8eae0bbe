#include "agent/log_watch.h"

#include <string>
#include <thread>
#include <vector>

#include "agent/testing.h"
#include "audit/keeper.h"
#include "audit/test_tree.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace corpgrid::agent {
namespace {

using ::testing::_;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

class LogWatchTest : public ::testing::Test {
 protected:
  // The scheduler shows the log `tree` at `size`, to one who knows `old_size` entries.
  void Show(const audit::TestTree& tree, uint64_t old_size, uint64_t size,
            const crypto::KeyPair& key) {
    const audit::Checkpoint checkpoint{
        .origin = audit::OriginOf(TestJob::kGrid), .size = size, .root = tree.roots[size]};
    absl::MutexLock lock(&scheduler_.mutex);
    scheduler_.checkpoint_error = absl::OkStatus();
    corpgrid::v1::CheckpointResponse& reply = scheduler_.checkpoint_reply;
    reply.Clear();
    reply.set_note(audit::SignedCheckpoint::Sign(checkpoint, key).Text());
    reply.set_public_key(std::string(key.public_key().Raw()));
    const auto proof = audit::ProveConsistency(old_size, size, tree.Reader());
    if (!proof.ok()) return;
    for (const audit::TreeHash& hash : *proof) reply.add_consistency(std::string(hash.Raw()));
  }
  void Fail(const absl::Status& error) {
    absl::MutexLock lock(&scheduler_.mutex);
    scheduler_.checkpoint_error = error;
  }
  // Waits until what a look found that begins now is told: the one after it has begun.
  void AwaitLooks() {
    absl::MutexLock lock(&scheduler_.mutex);
    const size_t before = scheduler_.asked_sizes.size();
    const auto looked = [&] { return scheduler_.asked_sizes.size() >= before + 2; };
    EXPECT_TRUE(scheduler_.mutex.AwaitWithTimeout(absl::Condition(&looked), absl::Seconds(20)));
  }
  std::vector<std::string> Told() {
    absl::MutexLock lock(&mutex_);
    return told_;
  }
  uint64_t KeptSize() {
    const auto keeper = audit::Keeper::Open(folder_.path(), audit::OriginOf(TestJob::kGrid));
    return keeper->kept() ? keeper->kept()->size : 0;
  }

  const corpgrid::testing::TempFolder folder_;
  const crypto::KeyPair key_ = crypto::KeyPair::Generate();
  const audit::TestTree tree_ = audit::TestTree::OfSize(12);
  FakeScheduler scheduler_;
  absl::Mutex mutex_;
  std::vector<std::string> told_ ABSL_GUARDED_BY(mutex_);
  const LogWatch::Tell tell_ = [this](const std::string& what) {
    absl::MutexLock lock(&mutex_);
    told_.push_back(what);
  };
  LogWatch watch_{&scheduler_, folder_.path(), tell_};
};

class LogWatchRunTest : public LogWatchTest {
 protected:
  // A watch that tells of a silence of so many looks.
  void Watch(int64_t silent_ms) {
    Show(tree_, 0, 8, key_);
    thread_ = std::thread([this, silent_ms] {
      LogWatch(&scheduler_, folder_.path(), tell_,
               {.look_ms = 1, .ask_ms = 1, .silent_ms = silent_ms})
          .Run(&stop_);
    });
    AwaitLooks();
  }
  void TearDown() override {
    stop_.Stop();
    thread_.join();
  }

  StopSignal stop_;
  std::thread thread_;
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

TEST_F(LogWatchRunTest, TellsATroubleOnceUntilALookSucceeds) {
  Watch(600'000);
  EXPECT_THAT(Told(), IsEmpty());
  for (const uint64_t size : {3, 4, 5}) {
    Show(tree_, 8, size, key_);
    AwaitLooks();
  }
  EXPECT_THAT(Told(), ElementsAre(HasSubstr("the log was cut: its checkpoint has 3 entries")));
  Show(tree_, 8, 8, key_);
  AwaitLooks();
  Show(tree_, 8, 5, key_);
  AwaitLooks();
  EXPECT_THAT(Told(), ElementsAre(_, HasSubstr("has 5 entries")));
}

TEST_F(LogWatchRunTest, TellsThatNoLookSucceeds) {
  Watch(50);
  for (const absl::Status& error :
       {absl::UnavailableError("away"), absl::CancelledError("cancelled"),
        absl::ResourceExhaustedError("busy"), absl::UnimplementedError("never heard of it")}) {
    Fail(error);
    const size_t before = Told().size();
    for (int i = 0; i < 1000 && Told().size() == before; ++i) AwaitLooks();
    AwaitLooks();
    EXPECT_THAT(Told(), SizeIs(before + 1)) << error;
    EXPECT_THAT(Told().back(), AllOf(HasSubstr("no look at it succeeded for 0 s"),
                                     HasSubstr(std::string(error.message()))));
    Show(tree_, 8, 8, key_);
    AwaitLooks();
  }
}

TEST_F(LogWatchRunTest, AShortSilenceIsNotTold) {
  Watch(600'000);
  for (int i = 0; i < 20; ++i) {
    Fail(absl::ResourceExhaustedError("busy"));
    AwaitLooks();
    Show(tree_, 8, 8, key_);
    AwaitLooks();
  }
  EXPECT_THAT(Told(), IsEmpty());
}

}  // namespace
}  // namespace corpgrid::agent
