#include "agent/submitter.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <thread>

#include "agent/files.h"
#include "agent/testing.h"
#include "audit/batch_signature.h"

namespace corpgrid::agent {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

class SubmitterTest : public ::testing::Test {
 protected:
  // An attempt that was leased, run and has the outputs given.
  void Finish(uint64_t id, const std::map<std::string, std::string>& outputs = {}) {
    FinishedAttempt finished{.attempt = job_.MakeAttempt(id, static_cast<uint32_t>(id))};
    leases_.Add(Leases({finished.attempt}));
    leases_.Take({}, 0);
    leases_.Finished(AttemptId{id}, 1000);
    finished.result = {job::Outcome::kExited, 0, {}};
    for (const auto& [name, data] : outputs) {
      CollectedOutput output{{name, crypto::Blake3(data), data.size()}, data, {}};
      finished.result.outputs.push_back(output.output);
      finished.outputs.push_back(std::move(output));
    }
    submitter_->Add(std::move(finished));
  }

  std::string StatementOf(uint64_t attempt, uint32_t shard, const job::Result& result) const {
    return job::ResultStatement{.grid_id = TestJob::kGrid,
                                .device = DeviceId{7},
                                .shard = ShardId{JobId{3}, shard},
                                .attempt = AttemptId{attempt},
                                .lease_token = "lease-token-" + std::to_string(attempt),
                                .bundle = crypto::Blake3(""),
                                .spec = crypto::Blake3(job_.spec),
                                .result_key = result.Key()}
        .Encode();
  }

  const crypto::KeyPair key_ = crypto::KeyPair::Generate();
  const TestJob job_{3, Fields({"/bin/true"}), key_};
  TestClock clock_;
  FakeScheduler scheduler_;
  LeaseQueue leases_{1, &clock_};
  StopSignal abort_;
  corpgrid::testing::TempFolder folder_;
  std::unique_ptr<Journal> journal_ = Journal::Open(folder_.path()).value();
  std::unique_ptr<Submitter> submitter_ =
      std::make_unique<Submitter>(&scheduler_, &key_, &leases_, journal_.get(), &abort_);
};

TEST_F(SubmitterTest, SignsWhatTheSchedulerWillCheck) {
  Finish(5, {{"out", "bytes"}});
  ASSERT_TRUE(submitter_->Drain(10'000));
  ASSERT_EQ(scheduler_.results.size(), 1u);
  const corpgrid::v1::Result& result = scheduler_.results[0];
  const job::Result expected{job::Outcome::kExited, 0, {{"out", crypto::Blake3("bytes"), 5}}};
  const std::string statement = StatementOf(5, 5, expected);
  EXPECT_TRUE(crypto::Verify(key_.public_key(), statement, result.signature()).ok());
  EXPECT_EQ(result.outputs(0).name(), "out");
  EXPECT_EQ((scheduler_.staged[{5, "out"}]), "bytes");
  EXPECT_THAT(leases_.HeldIds(), IsEmpty());
}

TEST_F(SubmitterTest, WhatPilesUpDuringACallIsOneBatch) {
  scheduler_.SetOpen(false);
  Finish(1);
  scheduler_.AwaitHeldCall();
  for (uint64_t id = 2; id <= 101; ++id) Finish(id);
  scheduler_.SetOpen(true);
  ASSERT_TRUE(submitter_->Drain(10'000));
  EXPECT_THAT(scheduler_.batch_sizes, ElementsAre(1, 64, 36));
}

TEST_F(SubmitterTest, ABatchHasOneSignatureWhereTheSchedulerTakesIt) {
  scheduler_.batch_signatures = true;
  scheduler_.SetOpen(false);
  Finish(1);
  scheduler_.AwaitHeldCall();
  for (uint64_t id = 2; id <= 4; ++id) Finish(id);
  scheduler_.SetOpen(true);
  ASSERT_TRUE(submitter_->Drain(10'000));
  ASSERT_THAT(scheduler_.batch_sizes, ElementsAre(1, 3));
  EXPECT_EQ(scheduler_.signatures[0], "") << "one alone is signed plainly";
  std::vector<audit::TreeHash> leaves;
  for (uint64_t id = 2; id <= 4; ++id) {
    const auto shard = static_cast<uint32_t>(id);
    const corpgrid::v1::Result& result = scheduler_.results[id - 1];
    leaves.push_back(
        audit::LeafHash(StatementOf(id, shard, job::Result{job::Outcome::kExited, 0, {}})));
    EXPECT_EQ(result.signature(), leaves.back().Raw());
  }
  EXPECT_TRUE(audit::SignedBatch::Check(key_.public_key(), leaves, scheduler_.signatures[1]).ok());
}

TEST_F(SubmitterTest, SmallOutputsOfABatchShareOneUpload) {
  scheduler_.SetOpen(false);
  Finish(1, {{"a", "1"}});
  scheduler_.AwaitHeldCall();
  for (uint64_t id = 2; id <= 20; ++id) Finish(id, {{"a", std::to_string(id)}, {"b", "b"}});
  scheduler_.SetOpen(true);
  ASSERT_TRUE(submitter_->Drain(10'000));
  EXPECT_EQ(scheduler_.put_calls, 2);
  EXPECT_EQ((scheduler_.staged[{20, "a"}]), "20");
  EXPECT_EQ(scheduler_.results.size(), 20u);
}

TEST_F(SubmitterTest, LargeOutputsComeFromTheirFile) {
  corpgrid::testing::TempFolder folder;
  const std::string data(200'000, 'x');
  FinishedAttempt finished{.attempt = job_.MakeAttempt(1)};
  finished.result = {job::Outcome::kExited, 0, {{"big", crypto::Blake3(data), data.size()}}};
  UniqueFd file = TemporaryFile(folder.path()).value();
  ASSERT_TRUE(WriteAll(file.get(), data).ok());
  finished.outputs.push_back({finished.result.outputs[0], "", std::move(file), true});
  submitter_->Add(std::move(finished));
  ASSERT_TRUE(submitter_->Drain(10'000));
  EXPECT_EQ((scheduler_.staged[{1, "big"}]), data);
}

TEST_F(SubmitterTest, LargeOutputsDoNotWaitForEachOther) {
  scheduler_.SetOpen(false);
  Finish(1, {{"a", std::string(1 << 20, 'x')}});
  scheduler_.AwaitHeldCall();
  for (uint64_t id = 2; id <= 5; ++id) Finish(id, {{"a", std::string(1 << 20, 'x')}});
  scheduler_.SetOpen(true);
  ASSERT_TRUE(submitter_->Drain(10'000));
  EXPECT_EQ(scheduler_.put_calls, 3);  // 1 MiB, then twice 2 MiB
}

TEST_F(SubmitterTest, TriesAgainWhatMaySucceedLater) {
  scheduler_.put_errors = {absl::UnavailableError("gone"),
                           absl::ResourceExhaustedError("the grid's disk is full")};
  scheduler_.submit_errors = {absl::UnauthenticatedError("who?"),
                              absl::DeadlineExceededError("slow")};
  Finish(1, {{"a", "1"}});
  ASSERT_TRUE(submitter_->Drain(20'000));
  ASSERT_EQ(scheduler_.results.size(), 1u);
  EXPECT_EQ(scheduler_.results[0].outcome(), static_cast<uint32_t>(job::Outcome::kExited));
}

TEST_F(SubmitterTest, BytesThatArriveDamagedAreNotClaimed) {
  scheduler_.damage = true;
  Finish(1, {{"a", "1"}});
  ASSERT_TRUE(submitter_->Drain(10'000));
  ASSERT_EQ(scheduler_.results.size(), 1u);
  EXPECT_EQ(scheduler_.results[0].outcome(), static_cast<uint32_t>(job::Outcome::kDeviceFault));
  EXPECT_EQ(scheduler_.results[0].outputs_size(), 0);
}

TEST_F(SubmitterTest, ARefusedUploadCostsOnlyItsOwnAttempt) {
  scheduler_.SetOpen(false);
  Finish(1, {{"a", "1"}});
  scheduler_.AwaitHeldCall();
  scheduler_.refused_attempt = 3;
  for (uint64_t id = 2; id <= 5; ++id) Finish(id, {{"a", "x"}});
  scheduler_.SetOpen(true);
  ASSERT_TRUE(submitter_->Drain(10'000));
  ASSERT_EQ(scheduler_.results.size(), 5u);
  for (const corpgrid::v1::Result& result : scheduler_.results) {
    const auto outcome = static_cast<job::Outcome>(result.outcome());
    EXPECT_EQ(outcome,
              result.attempt_id() == 3 ? job::Outcome::kDeviceFault : job::Outcome::kExited)
        << result.attempt_id();
    if (result.attempt_id() == 3) {
      EXPECT_THAT(result.detail(), ::testing::HasSubstr("no such grant"));
    }
  }
}

TEST_F(SubmitterTest, ARefusedCallEndsOnlyTheResultItIsAbout) {
  scheduler_.submit_errors = {absl::InvalidArgumentError("bad")};
  Finish(1);
  ASSERT_TRUE(submitter_->Drain(10'000));
  EXPECT_THAT(scheduler_.results, IsEmpty());
  EXPECT_THAT(leases_.HeldIds(), IsEmpty());
}

TEST_F(SubmitterTest, DropsWhatIsNoLongerWanted) {
  scheduler_.SetOpen(false);
  Finish(1);
  scheduler_.AwaitHeldCall();
  Finish(2);
  submitter_->Drop(AttemptId{2});
  scheduler_.SetOpen(true);
  ASSERT_TRUE(submitter_->Drain(10'000));
  ASSERT_EQ(scheduler_.results.size(), 1u);
  EXPECT_EQ(scheduler_.results[0].attempt_id(), 1u);
}

TEST_F(SubmitterTest, EndsWhileTheSchedulerIsAway) {
  scheduler_.submit_errors.assign(1000, absl::UnavailableError("gone"));
  Finish(1);
  EXPECT_FALSE(submitter_->Drain(50));
  submitter_.reset();
  EXPECT_THAT(leases_.HeldIds(), ElementsAre(1u));  // the scheduler will give it again
}

}  // namespace
}  // namespace corpgrid::agent
