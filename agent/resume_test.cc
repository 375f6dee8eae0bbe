// Shards that are given back, and shards that go on from a saved state.
#include <filesystem>
#include <fstream>

#include "agent/test_executor.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "objects/bundle.h"

namespace corpgrid::agent {
namespace {

using ::testing::Contains;
using ::testing::Pair;

TEST_F(ExecutorTest, WhatIsGivenBackHasItsLastState) {
  job::JobFields fields = Fields({"/bin/x"});
  fields.checkpoint = job::Checkpoint{};
  const TestJob job(1, fields, submitter_);
  scheduler_.Serve(job);
  world_.block = true;
  std::filesystem::create_directory(world_.work + "/state");
  std::ofstream(world_.work + "/state/n") << "41";
  Start();
  leases_.Add(Leases({job.MakeAttempt(1)}));
  AwaitRunning(1);
  EXPECT_FALSE(executor_->GiveBack(AttemptId{2}, "battery"));
  EXPECT_TRUE(executor_->GiveBack(AttemptId{1}, "battery"));
  AwaitFinished(1);
  absl::MutexLock lock(&mutex_);
  EXPECT_EQ(finished_[0].result, (job::Result{job::Outcome::kGivenBack, 0, {}}));
  EXPECT_EQ(finished_[0].detail, "battery");
  ASSERT_EQ(scheduler_.reports.size(), 1u);
  EXPECT_EQ(scheduler_.reports[0].first, 1u);
  EXPECT_THAT(leases_.HeldIds(), ::testing::ElementsAre(1u));
}

TEST_F(ExecutorTest, WhatIsWantedNoLongerIsNotGivenBack) {
  const TestJob job(1, Fields({"/bin/x"}), submitter_);
  scheduler_.Serve(job);
  world_.block = true;
  Start();
  leases_.Add(Leases({job.MakeAttempt(1)}));
  AwaitRunning(1);
  EXPECT_TRUE(executor_->Cancel(AttemptId{1}));
  executor_->GiveBack(AttemptId{1}, "battery");
  while (!leases_.HeldIds().empty()) std::this_thread::yield();
  absl::MutexLock lock(&mutex_);
  EXPECT_TRUE(finished_.empty());
}

TEST_F(ExecutorTest, GoesOnFromTheStateOfItsLease) {
  job::JobFields fields = Fields({"/bin/x"});
  fields.checkpoint = job::Checkpoint{};
  const TestJob job(1, fields, submitter_);
  std::string packed;
  std::filesystem::create_directories(folder_.path() + "/before/deep");
  std::ofstream(folder_.path() + "/before/deep/n") << "41";
  ASSERT_TRUE(objects::PackBundle(folder_.path() + "/before", [&](std::string_view data) {
                packed.append(data);
                return absl::OkStatus();
              }).ok());
  scheduler_.Serve(job);
  scheduler_.objects[crypto::Blake3(packed)] = packed;
  scheduler_.objects[crypto::Blake3("no archive")] = "no archive";
  Start();
  const auto run = [&](uint64_t id, const std::string& state) {
    Attempt attempt = job.MakeAttempt(id);
    attempt.state_hash = std::string(crypto::Blake3(state).Raw());
    leases_.Add(Leases({attempt}));
    AwaitFinished(id);
    absl::MutexLock lock(&world_.mutex);
    return world_.requests.back();
  };
  EXPECT_THAT(run(1, packed).env, Contains(Pair("CORPGRID_RESUME", "1")));
  std::string text;
  std::ifstream(world_.work + "/state/deep/n") >> text;
  EXPECT_EQ(text, "41");
  // What is not there, or is none, costs the work, not the shard.
  std::filesystem::remove_all(world_.work + "/state");
  for (const char* state : {"no archive", "not there"}) {
    EXPECT_THAT(run(state == std::string("no archive") ? 2 : 3, state).env,
                ::testing::Not(Contains(Pair("CORPGRID_RESUME", "1"))));
    std::filesystem::remove_all(world_.work + "/state");
  }
  absl::MutexLock lock(&mutex_);
  for (const FinishedAttempt& finished : finished_) EXPECT_TRUE(finished.result.succeeded());
}

}  // namespace
}  // namespace corpgrid::agent
