#include <cmath>
#include <map>
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
using ::testing::SizeIs;
using ::testing::UnorderedElementsAre;

// Results are numbers; those at most 1 apart are close.
class CompareTest : public ::testing::Test, protected TestGrid {
 protected:
  JobId SubmitNumeric(uint32_t replicas, uint32_t quorum) {
    job::JobFields fields;
    fields.name = "test";
    fields.command = {"/bin/true"};
    fields.outputs = {"out"};
    fields.retries = 0;
    fields.redundancy = {.replicas = replicas,
                         .quorum = quorum,
                         .validator = job::Validator::kNumeric,
                         .tolerance = {.absolute = 1}};
    return Submit(fields, "key");
  }

  // Hands `number` in; the question that comes of it waits in asked_.
  void HandInNumber(const Lease& lease, double number) {
    numbers_[lease.attempt] = number;
    EXPECT_TRUE(HandIn(lease, Result(lease, std::to_string(number))).accepted);
    for (const Comparison& comparison : last_.compare) asked_.push_back(comparison);
  }

  // Answers the oldest question.
  Effects AnswerNext() {
    const Comparison question = asked_.at(0);
    asked_.erase(asked_.begin());
    Compared answer{.attempt = question.result.attempt};
    for (const Comparison::Side& other : question.others) {
      const double distance =
          std::abs(numbers_.at(other.attempt) - numbers_.at(question.result.attempt));
      if (distance <= 1) {
        answer.close.push_back(other.attempt);
      } else {
        answer.difference = "out, line 1";
      }
    }
    last_ = Apply(answer);
    return last_;
  }

  std::vector<Comparison> asked_;
  std::map<AttemptId, double> numbers_;
};

TEST_F(CompareTest, CloseResultsAreAQuorumAndTheOldestLeaseWins) {
  const DeviceId ann = Join("ann"), bob = Join("bob");
  const JobId job = SubmitNumeric(2, 2);
  const Lease a = PollFor(ann, 1).at(0), b = PollFor(bob, 1).at(0);
  HandInNumber(b, 1.5);
  HandInNumber(a, 1);
  ASSERT_THAT(asked_, SizeIs(2));
  EXPECT_THAT(asked_[0].others, IsEmpty());
  EXPECT_EQ(asked_[1].others.at(0).attempt, b.attempt);
  EXPECT_EQ(asked_[1].others.at(0).outputs.at(0).hash, crypto::Blake3(std::to_string(1.5)));
  AnswerNext();
  EXPECT_EQ(jobs_.at(job).progress.done, 0u);
  AnswerNext();
  EXPECT_EQ(jobs_.at(job).progress.state, JobState::kDone);
  EXPECT_THAT(last_.keep, ElementsAre(std::pair(a.attempt, job)));
  EXPECT_EQ(reputations_.at(bob).agreed, 1u);
}

TEST_F(CompareTest, WhatIsNearToAllWinsThoughTheyAreNotNearToEachOther) {
  const DeviceId ann = Join("ann"), bob = Join("bob"), cyd = Join("cyd");
  const JobId job = SubmitNumeric(3, 3);
  const Lease a = PollFor(ann, 1).at(0), b = PollFor(bob, 1).at(0), c = PollFor(cyd, 1).at(0);
  HandInNumber(a, 0);
  HandInNumber(b, 2);
  HandInNumber(c, 1);
  for (int i = 0; i < 3; ++i) AnswerNext();
  EXPECT_EQ(jobs_.at(job).progress.state, JobState::kDone);
  EXPECT_THAT(last_.keep, ElementsAre(std::pair(c.attempt, job)));
}

TEST_F(CompareTest, ALinkInBetweenDoesNotMakeStrangersAgree) {
  const DeviceId ann = Join("ann"), bob = Join("bob"), cyd = Join("cyd");
  const JobId job = SubmitNumeric(3, 3);
  const Lease a = PollFor(ann, 1).at(0), b = PollFor(bob, 1).at(0), c = PollFor(cyd, 1).at(0);
  const DeviceId dan = Join("dan");
  HandInNumber(a, 0);
  HandInNumber(b, 1);
  HandInNumber(c, 2.5);  // near to nobody
  for (int i = 0; i < 3; ++i) AnswerNext();
  EXPECT_EQ(jobs_.at(job).progress.done, 0u);
  const Lease d = PollFor(dan, 1).at(0);
  HandInNumber(d, 2);  // near to bob's and cyd's: bob's has three votes
  AnswerNext();
  EXPECT_EQ(jobs_.at(job).progress.state, JobState::kDone);
  EXPECT_THAT(last_.keep, ElementsAre(std::pair(b.attempt, job)));
  EXPECT_EQ(attempts_.at(c.attempt).state, AttemptState::kDisagreed);
  EXPECT_EQ(reputations_.at(cyd).disagreed, 1u);
  EXPECT_EQ(attempts_.at(a.attempt).state, AttemptState::kAgreed);
}

TEST_F(CompareTest, NobodyIsAskedForMoreBeforeTheAnswerIsThere) {
  const DeviceId ann = Join("ann"), bob = Join("bob"), cyd = Join("cyd");
  SubmitNumeric(2, 2);
  const Lease a = PollFor(ann, 1).at(0), b = PollFor(bob, 1).at(0);
  HandInNumber(a, 0);
  AnswerNext();
  HandInNumber(b, 5);
  EXPECT_THAT(PollFor(cyd, 1), IsEmpty());
  AnswerNext();
  ASSERT_THAT(last_.leases, SizeIs(1));
  EXPECT_EQ(last_.leases.at(0).device, cyd);
}

TEST_F(CompareTest, ARestartAsksAgainAndALateAnswerDoesNoHarm) {
  const DeviceId ann = Join("ann"), bob = Join("bob");
  const JobId job = SubmitNumeric(2, 2);
  const Lease a = PollFor(ann, 1).at(0), b = PollFor(bob, 1).at(0);
  HandInNumber(a, 1);
  AnswerNext();
  HandInNumber(b, 1);
  Restart();
  const std::vector<Comparison> late = std::exchange(asked_, grid_->OpenComparisons());
  ASSERT_THAT(asked_, SizeIs(2)) << "what was answered before was not written down";
  EXPECT_THAT(asked_[0].others, IsEmpty()) << "each pair once";
  EXPECT_EQ(asked_[1].others.at(0).attempt, a.attempt);
  AnswerNext();
  EXPECT_EQ(jobs_.at(job).progress.done, 0u);
  AnswerNext();
  EXPECT_EQ(jobs_.at(job).progress.state, JobState::kDone);
  EXPECT_THAT(grid_->OpenComparisons(), IsEmpty());
  asked_ = late;
  EXPECT_THAT(AnswerNext().rows.attempts, IsEmpty());
}

TEST_F(CompareTest, FailuresAreComparedAsTheyAre) {
  const DeviceId ann = Join("ann"), bob = Join("bob");
  const JobId job = SubmitNumeric(2, 2);
  const Lease a = PollFor(ann, 1).at(0), b = PollFor(bob, 1).at(0);
  HandIn(a, Result(a, "", 7));
  EXPECT_THAT(last_.compare, IsEmpty());
  HandIn(b, Result(b, "", 7));
  EXPECT_EQ(jobs_.at(job).progress.state, JobState::kFailed);
  EXPECT_THAT(jobs_.at(job).progress.error, HasSubstr("ended with status 7"));
}

TEST_F(CompareTest, WithoutAQuorumEveryAnswerIsKeptAndNobodyBlamed) {
  std::vector<DeviceId> devices;
  for (uint32_t i = 0; i < job::JobSpec::kMaxReplicas; ++i) {
    devices.push_back(Join("owner" + std::to_string(i)));
  }
  const JobId job = SubmitNumeric(2, 2);
  std::vector<Lease> leases;
  for (size_t i = 0; i < devices.size(); ++i) {
    leases.push_back(PollFor(devices[i], 1).at(0));
    HandInNumber(leases.back(), 10.0 * static_cast<double>(i));
    AnswerNext();
  }
  EXPECT_EQ(jobs_.at(job).progress.state, JobState::kFailed);
  EXPECT_THAT(jobs_.at(job).progress.error,
              HasSubstr("no 2 of 16 results agree; `corpgrid job show` lists them: results differ "
                        "in out, line 1"));
  EXPECT_THAT(last_.keep, SizeIs(16));
  EXPECT_THAT(last_.drop, IsEmpty());
  EXPECT_EQ(attempts_.at(leases[3].attempt).state, AttemptState::kUndecided);
  EXPECT_EQ(reputations_[devices[3]].disagreed, 0u);
}

}  // namespace
}  // namespace corpgrid::core
