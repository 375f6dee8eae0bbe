#include "agent/checkpoints.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "agent/testing.h"

namespace corpgrid::agent {
namespace {

using ::testing::IsEmpty;
using ::testing::SizeIs;

class CheckpointsTest : public ::testing::Test {
 protected:
  SavedState State(const std::string& bytes) const {
    SavedState state{.file = TemporaryFile(folder_.path()).value(),
                     .hash = crypto::Blake3(bytes),
                     .size_bytes = bytes.size()};
    EXPECT_TRUE(WriteAll(state.file.get(), bytes).ok());
    return state;
  }
  // The names and hashes that were reported.
  std::vector<std::pair<std::string, std::string>> Reported() {
    absl::MutexLock lock(&scheduler_.mutex);
    std::vector<std::pair<std::string, std::string>> all;
    for (const auto& [id, state] : scheduler_.reports) all.emplace_back(state.name(), state.hash());
    return all;
  }
  static std::string HashOf(const std::string& bytes) {
    return std::string(crypto::Blake3(bytes).Raw());
  }

  corpgrid::testing::TempFolder folder_;
  FakeScheduler scheduler_;
  const crypto::KeyPair submitter_ = crypto::KeyPair::Generate();
  const TestJob job_{1, Fields({"/bin/x"}), submitter_};
  const Attempt attempt_ = job_.MakeAttempt(7);
  StopSignal abort_;
  Checkpoints checkpoints_{&scheduler_, &abort_};
};

// So that an upload that breaks off leaves the state in place that a lease may name.
TEST_F(CheckpointsTest, NeverUploadsOverTheStateThatWasReported) {
  for (const char* bytes : {"one", "two", "three"}) {
    checkpoints_.Offer(attempt_, State(bytes));
    checkpoints_.Flush(attempt_.id, 10'000);
  }
  EXPECT_THAT(Reported(),
              ::testing::ElementsAre(std::pair(std::string("@state-0"), HashOf("one")),
                                     std::pair(std::string("@state-1"), HashOf("two")),
                                     std::pair(std::string("@state-0"), HashOf("three"))));
  scheduler_.report_errors = {absl::FailedPreconditionError("no")};
  checkpoints_.Offer(attempt_, State("four"));
  checkpoints_.Flush(attempt_.id, 10'000);
  checkpoints_.Offer(attempt_, State("five"));
  checkpoints_.Flush(attempt_.id, 10'000);
  EXPECT_EQ(Reported().back(), std::pair(std::string("@state-1"), HashOf("five")));
}

TEST_F(CheckpointsTest, TriesAgainUnlessANewerOneCame) {
  scheduler_.SetOpen(false);
  scheduler_.put_errors = {absl::UnavailableError("gone")};
  checkpoints_.Offer(attempt_, State("old"));
  scheduler_.AwaitHeldCall();
  checkpoints_.Offer(attempt_, State("newer"));
  checkpoints_.Offer(attempt_, State("newest"));
  scheduler_.SetOpen(true);
  checkpoints_.Flush(attempt_.id, 10'000);
  ASSERT_THAT(Reported(), SizeIs(1));
  EXPECT_EQ(Reported()[0].second, HashOf("newest"));
}

TEST_F(CheckpointsTest, WhatWasReportedIsNotSentAgain) {
  for (int i = 0; i < 3; ++i) {
    checkpoints_.Offer(attempt_, State("same"));
    checkpoints_.Flush(attempt_.id, 10'000);
  }
  EXPECT_THAT(Reported(), SizeIs(1));
}

TEST_F(CheckpointsTest, DamagedBytesAreNotReported) {
  scheduler_.damage = true;
  checkpoints_.Offer(attempt_, State("x"));
  checkpoints_.Flush(attempt_.id, 10'000);
  EXPECT_THAT(Reported(), IsEmpty());
}

TEST_F(CheckpointsTest, OfAnEndedAttemptNothingMoreIsSent) {
  scheduler_.SetOpen(false);
  scheduler_.put_errors = {absl::UnavailableError("gone")};
  checkpoints_.Offer(attempt_, State("x"));
  checkpoints_.Forget(attempt_.id);
  scheduler_.SetOpen(true);
  checkpoints_.Flush(attempt_.id, 10'000);
  absl::SleepFor(absl::Milliseconds(300));
  EXPECT_THAT(Reported(), IsEmpty());
}

}  // namespace
}  // namespace corpgrid::agent
