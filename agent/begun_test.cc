#include "agent/begun.h"

#include <filesystem>
#include <fstream>

#include "agent/test_executor.h"
#include "base/testing/temp_folder.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace corpgrid::agent {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

class BegunTest : public ::testing::Test {
 protected:
  static Attempt Numbered(uint64_t id, bool careful = false) {
    Attempt attempt{.id = {id}, .shard = {}, .lease_token = "token", .job = nullptr};
    attempt.careful = careful;
    return attempt;
  }

  // What the next run of the agent finds.
  std::vector<BegunAttempt> Left(const std::string& grid_id = "grid", uint32_t slots = 2) {
    return (*Begun::Open(folder_ / "begun", slots))->Left(grid_id);
  }

  corpgrid::testing::TempFolder folder_;
  std::unique_ptr<Begun> begun_ = *Begun::Open(folder_ / "begun", 2);
};

TEST_F(BegunTest, WhatBeganAndDidNotEndIsLeft) {
  EXPECT_THAT(Left(), IsEmpty());
  begun_->Begin("grid", 0, Numbered(1));
  begun_->Begin("grid", 1, Numbered(2, /*careful=*/true));
  EXPECT_THAT(Left(), ElementsAre(BegunAttempt{AttemptId{1}, "token"},
                                  BegunAttempt{AttemptId{2}, "token"}));
  begun_->End(0);
  begun_->Begin("grid", 0, Numbered(123456789));
  begun_->End(1);
  EXPECT_THAT(Left(), ElementsAre(BegunAttempt{AttemptId{123456789}, "token"}));
  EXPECT_THAT(Left("another grid"), IsEmpty());
  begun_->Begin("grid", 1, Numbered(4));
  EXPECT_EQ(Left("grid", 1).size(), 2u) << "also of the slots that it has no more";
}

TEST_F(BegunTest, WhoStopsInOrderDidNotDie) {
  begun_->Begin("grid", 0, Numbered(1));
  begun_->Close();
  EXPECT_THAT(Left(), IsEmpty());
  begun_->Begin("grid", 1, Numbered(2));
  EXPECT_THAT(Left(), IsEmpty()) << "it is given back at once";
}

TEST_F(BegunTest, ToldOnceIsEnough) {
  begun_->Begin("grid", 0, Numbered(1));
  const auto next = *Begun::Open(folder_ / "begun", 2);
  next->ForgetLeft();
  EXPECT_THAT(Left(), IsEmpty());
}

TEST_F(BegunTest, ANoteThatIsNotWholeIsNone) {
  begun_->Begin("grid", 0, Numbered(1));
  const std::string path = folder_ / "begun" + "/0";
  const auto size = std::filesystem::file_size(path);
  for (uintmax_t cut = 0; cut < size; ++cut) {
    std::filesystem::resize_file(path, cut);
    EXPECT_THAT(Left(), IsEmpty()) << cut;
    begun_->Begin("grid", 0, Numbered(1));
  }
  std::fstream(path, std::ios::in | std::ios::out).seekp(40) << 'x';
  EXPECT_THAT(Left(), IsEmpty());
}

TEST_F(ExecutorTest, AShardIsNotedWhileItRuns) {
  const TestJob job(1, Fields({"/bin/x"}), submitter_);
  world_.block = true;
  Start();
  scheduler_.Serve(job);
  leases_.Add(Leases({job.MakeAttempt(7, 0)}));
  AwaitRunning(1);
  const auto left = [this] { return (*Begun::Open(folder_.path() + "/begun", 4))->Left("grid"); };
  ASSERT_EQ(left().size(), 1u);
  EXPECT_EQ(left()[0].id, AttemptId{7});
  {
    absl::MutexLock lock(&world_.mutex);
    world_.block = false;
  }
  AwaitFinished(1);
  EXPECT_THAT(left(), IsEmpty());
}

}  // namespace
}  // namespace corpgrid::agent
