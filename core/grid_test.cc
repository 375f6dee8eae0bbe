#include "core/grid.h"

#include <string>
#include <vector>

#include "core/test_grid.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace corpgrid::core {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

class GridTest : public ::testing::Test, protected TestGrid {};

TEST_F(GridTest, AJoinTokenAdmitsAsManyDevicesAsItSays) {
  const DeviceId first = Join("ann");
  RegisterDevice c;
  c.device = devices_.at(first);
  EXPECT_EQ(std::get<Registered>(Apply(c).reply).device, first) << "a known device needs no token";
  c.device.public_key = "another";
  c.join_secret_hash = tokens_.begin()->first;
  EXPECT_TRUE(absl::IsPermissionDenied(std::get<absl::Status>(Apply(c).reply)));
}

TEST_F(GridTest, SubmitIsIdempotentByKeyAlsoAfterTheJobEndedAndARestart) {
  const JobId job = Submit(1, 1, 1);
  EXPECT_EQ(Submit(1, 1, 1), job);
  Apply(CancelJob{job});
  Restart();
  EXPECT_EQ(Submit(1, 1, 1), job);
  EXPECT_THAT(jobs_, SizeIs(1));
}

TEST_F(GridTest, ReplicasGoToDistinctOwners) {
  const DeviceId ann = Join("ann"), ann2 = Join("ann"), bob = Join("bob");
  Submit(3, 2, 2);
  EXPECT_THAT(PollFor(ann, 10), SizeIs(3));
  EXPECT_THAT(PollFor(ann2, 10), IsEmpty());
  EXPECT_THAT(PollFor(bob, 10), SizeIs(3));
}

TEST_F(GridTest, AQuorumDecidesAndOneWinnerIsKept) {
  const DeviceId ann = Join("ann"), bob = Join("bob");
  const JobId job = Submit(1, 2, 2);
  const Lease a = PollFor(ann, 1).at(0), b = PollFor(bob, 1).at(0);
  EXPECT_TRUE(HandIn(a, Result(a, "x")).accepted);
  EXPECT_EQ(jobs_.at(job).progress.done, 0u);
  EXPECT_TRUE(HandIn(b, Result(b, "x")).accepted);
  EXPECT_EQ(jobs_.at(job).progress.state, JobState::kDone);
  EXPECT_THAT(last_.keep, ElementsAre(std::pair(a.attempt, job)));
  EXPECT_THAT(last_.drop, ElementsAre(b.attempt));
  EXPECT_EQ(reputations_.at(ann).agreed, 1u);
}

TEST_F(GridTest, DisagreementAsksForMoreAndTheLiarLoses) {
  const DeviceId liar = Join("liar"), ann = Join("ann"), bob = Join("bob");
  const JobId job = Submit(1, 2, 2);
  const Lease l = PollFor(liar, 1).at(0), a = PollFor(ann, 1).at(0);
  HandIn(l, Result(l, "lie"));
  EXPECT_THAT(PollFor(bob, 1), IsEmpty()) << "two may still agree";
  HandIn(a, Result(a, "truth"));
  ASSERT_THAT(last_.leases, SizeIs(1)) << "the device that waits gets the third replica";
  const Lease b = last_.leases.at(0);
  EXPECT_EQ(b.device, bob);
  HandIn(b, Result(b, "truth"));
  EXPECT_EQ(jobs_.at(job).progress.state, JobState::kDone);
  EXPECT_EQ(reputations_.at(liar).disagreed, 1u);
  EXPECT_EQ(attempts_.at(l.attempt).state, AttemptState::kDisagreed);
}

TEST_F(GridTest, TwoDevicesOfOneOwnerAreNoQuorum) {
  const DeviceId ann = Join("ann");
  const JobId job = Submit(1, 2, 2);
  const Lease a = PollFor(ann, 1).at(0);
  HandIn(a, Result(a, "x"));
  EXPECT_EQ(jobs_.at(job).progress.done, 0u);
  const auto why = std::get<std::vector<std::string>>(Apply(WhyJob{job}).reply);
  EXPECT_THAT(why, Contains(HasSubstr("needs 2 different owners, but only 1")));
}

TEST_F(GridTest, RefusedResultsChangeTheReputationAlone) {
  const DeviceId ann = Join("ann"), bob = Join("bob");
  const JobId job = Submit(2, 1, 1);
  const Lease a = PollFor(ann, 1).at(0), b = PollFor(bob, 1).at(0);
  HandedIn stolen = Result(a, "x");
  EXPECT_FALSE(
      std::get<std::vector<Verdict>>(Apply(SubmitResults{bob, {stolen}}).reply).at(0).accepted);
  HandedIn guessed = Result(b, "x");
  guessed.lease_token = "guess";
  EXPECT_FALSE(HandIn(b, guessed).accepted);
  HandedIn forged = Result(b, "x");
  forged.proof = Proof::kBadSignature;
  EXPECT_FALSE(HandIn(b, forged).accepted);
  HandedIn empty = Result(b, "x");
  empty.proof = Proof::kBytesMissing;
  EXPECT_FALSE(HandIn(b, empty).accepted);
  EXPECT_EQ(reputations_.at(bob).refused, 4u);
  EXPECT_EQ(jobs_.at(job).progress.done, 0u);
  EXPECT_THAT(results_, IsEmpty());
  EXPECT_TRUE(HandIn(b, Result(b, "x")).accepted) << "the honest result still counts";
}

TEST_F(GridTest, HandingInTwiceCountsOnce) {
  const DeviceId ann = Join("ann"), bob = Join("bob");
  const JobId job = Submit(2, 2, 2);
  const Lease a = PollFor(ann, 1).at(0);
  EXPECT_TRUE(HandIn(a, Result(a, "x")).accepted);
  EXPECT_TRUE(HandIn(a, Result(a, "y")).accepted);
  EXPECT_EQ(jobs_.at(job).progress.done, 0u);
  const Lease b = PollFor(bob, 1).at(0);
  HandIn(b, Result(b, "x"));
  EXPECT_TRUE(HandIn(a, Result(a, "x")).accepted) << "also after the shard was decided";
  EXPECT_EQ(jobs_.at(job).progress.done, 1u);
  EXPECT_EQ(reputations_.at(ann).refused, 0u);
}

TEST_F(GridTest, AnExpiredLeaseIsGivenToAnotherAndItsLateResultIsRefused) {
  const DeviceId ann = Join("ann"), bob = Join("bob");
  const JobId job = Submit(1, 1, 1);
  const Lease a = PollFor(ann, 1).at(0);
  EXPECT_THAT(PollFor(bob, 1), IsEmpty());
  now_ms_ += PastTtlMs();
  const Effects tick = Apply(Tick{});
  ASSERT_THAT(tick.leases, SizeIs(1));
  EXPECT_EQ(tick.leases[0].device, bob);
  EXPECT_FALSE(HandIn(a, Result(a, "x")).accepted);
  EXPECT_EQ(reputations_.at(ann).expired, 1u);
  EXPECT_EQ(reputations_.at(ann).refused, 1u);
  HandIn(tick.leases[0], Result(tick.leases[0], "x"));
  EXPECT_EQ(jobs_.at(job).progress.state, JobState::kDone);
}

TEST_F(GridTest, AHeartbeatExtendsALease) {
  const DeviceId ann = Join("ann");
  Submit(1, 1, 1);
  const Lease a = PollFor(ann, 1).at(0);
  for (int i = 0; i < 10; ++i) {
    now_ms_ += GridConfig().lease_ttl_ms() - 1;
    Apply(Tick{});
    const Effects beat = Apply(Heartbeat{ann, Power::kMains, {{a.attempt, 0.5}}});
    EXPECT_THAT(std::get<std::vector<Stop>>(beat.reply), IsEmpty());
  }
  EXPECT_TRUE(HandIn(a, Result(a, "x")).accepted);
}

TEST_F(GridTest, ADeviceThatIsHeardButNeverAnswersLosesItsLease) {
  const DeviceId ann = Join("ann"), bob = Join("bob");
  const JobId job = Submit(1, 1, 1);
  const Lease a = PollFor(ann, 1).at(0);
  const int64_t end_ms = now_ms_ + job::Limits().wall_ms + Grid::kMaxQueuedMs;
  while (now_ms_ < end_ms + GridConfig().lease_ttl_ms()) {
    now_ms_ += GridConfig().heartbeat_ms;
    Apply(Heartbeat{ann, Power::kMains, {{a.attempt, 0.5}}});
    PollFor(ann, 0, {a.attempt});
    Apply(Tick{});
  }
  const std::vector<Lease> leases = PollFor(bob, 1);
  ASSERT_THAT(leases, SizeIs(1));
  HandIn(leases[0], Result(leases[0], "x"));
  EXPECT_EQ(jobs_.at(job).progress.state, JobState::kDone);
}

TEST_F(GridTest, ALostPollReplyIsGivenAgainWithTheSameAttempt) {
  const DeviceId ann = Join("ann");
  Submit(2, 1, 1);
  const std::vector<Lease> first = PollFor(ann, 2);
  const std::vector<Lease> again = PollFor(ann, 2, {first[0].attempt});
  ASSERT_THAT(again, SizeIs(1));
  EXPECT_EQ(again[0].attempt, first[1].attempt);
  EXPECT_EQ(again[0].token, first[1].token);
}

TEST_F(GridTest, AFailureThatAQuorumAgreesOnUsesUpARetry) {
  const DeviceId ann = Join("ann");
  const JobId job = Submit(1, 1, 1, /*retries=*/1);
  const Lease a = PollFor(ann, 1).at(0);
  HandIn(a, Result(a, "", 7));
  EXPECT_EQ(jobs_.at(job).progress.state, JobState::kRunning);
  AfterRetryDelay();
  const Lease b = PollFor(ann, 1).at(0);
  HandIn(b, Result(b, "", 7));
  EXPECT_EQ(jobs_.at(job).progress.state, JobState::kFailed);
  EXPECT_THAT(jobs_.at(job).progress.error, HasSubstr("ended with status 7"));
}

TEST_F(GridTest, EachRetryWaitsTwiceAsLong) {
  const DeviceId ann = Join("ann");
  Submit(1, 1, 1, /*retries=*/20);
  for (int failures = 0; failures < 20; ++failures) {
    const std::vector<Lease> leases = PollFor(ann, 1);
    ASSERT_THAT(leases, SizeIs(1));
    HandIn(leases[0], Result(leases[0], "", 7));
    const int64_t delay_ms =
        std::min(Grid::kRetryDelayMs << std::min(failures, 16), Grid::kMaxRetryDelayMs);
    now_ms_ += delay_ms - 1;
    Apply(Tick{});
    EXPECT_THAT(PollFor(ann, 1), IsEmpty());
    Apply(StopPolling{ann});
    now_ms_ += 1;
    Apply(Tick{});
  }
  Apply(CancelJob{JobId{1}});
}

TEST_F(GridTest, AJobThatWaitsForARetryCanBeCancelled) {
  const DeviceId ann = Join("ann");
  const JobId job = Submit(1, 1, 1, /*retries=*/1);
  const Lease a = PollFor(ann, 1).at(0);
  HandIn(a, Result(a, "", 7));
  Apply(CancelJob{job});
  AfterRetryDelay();
  EXPECT_EQ(jobs_.at(job).progress.state, JobState::kCancelled);
  EXPECT_THAT(PollFor(ann, 1), IsEmpty());
}

TEST_F(GridTest, OneDeviceThatClaimsAFailureCannotFailAShard) {
  const DeviceId liar = Join("liar"), ann = Join("ann"), bob = Join("bob");
  const JobId job = Submit(1, 2, 2);
  const Lease l = PollFor(liar, 1).at(0), a = PollFor(ann, 1).at(0);
  HandIn(l, Result(l, "", 1));
  HandIn(a, Result(a, "x"));
  const Lease b = PollFor(bob, 1).at(0);
  HandIn(b, Result(b, "x"));
  EXPECT_EQ(jobs_.at(job).progress.state, JobState::kDone);
}

TEST_F(GridTest, ADeviceFaultUsesUpNoRetryAndPausesTheDevice) {
  const DeviceId ann = Join("ann"), bob = Join("bob");
  const JobId job = Submit(1, 1, 1, /*retries=*/0);
  const Lease a = PollFor(ann, 1).at(0);
  HandedIn fault = Result(a, "");
  fault.row.result = {.outcome = job::Outcome::kDeviceFault, .exit_code = 0, .outputs = {}};
  fault.row.detail = "no space left";
  EXPECT_TRUE(HandIn(a, fault).accepted);
  EXPECT_THAT(PollFor(ann, 1), IsEmpty()) << "it pauses";
  const Lease b = PollFor(bob, 1).at(0);
  HandIn(b, Result(b, "x"));
  EXPECT_EQ(jobs_.at(job).progress.state, JobState::kDone);
  EXPECT_EQ(reputations_.at(ann).faults, 1u);
}

TEST_F(GridTest, ABadJobDoesNotKeepADeviceFromOtherJobs) {
  const DeviceId ann = Join("ann");
  Submit(1, 1, 1, 0, "bad");
  for (int i = 0; i < 5; ++i) {
    now_ms_ += Grid::kMaxFaultPauseMs;
    const Lease a = PollFor(ann, 1).at(0);
    HandedIn fault = Result(a, "");
    fault.row.result = {.outcome = job::Outcome::kDeviceFault, .exit_code = 0, .outputs = {}};
    HandIn(a, fault);
  }
  const JobId good = Submit(1, 1, 1, 0, "good");
  const std::vector<Lease> leases = PollFor(ann, 1);
  ASSERT_THAT(leases, SizeIs(1));
  EXPECT_EQ(leases[0].shard.job, good);
  now_ms_ += Grid::kMaxFaultPauseMs;
  PollFor(ann, 1, {leases[0].attempt});
  EXPECT_THAT(attempts_, SizeIs(7)) << "the bad job is tried again when its pause is over";
}

TEST_F(GridTest, AShardThatEveryDeviceGivesUpFailsWithTheirReason) {
  const DeviceId ann = Join("ann");
  const JobId job = Submit(1, 1, 1);
  for (uint32_t i = 0; i < Grid::kMaxFaults; ++i) {
    now_ms_ += Grid::kMaxFaultPauseMs;
    const std::vector<Lease> leases = PollFor(ann, 1);
    ASSERT_THAT(leases, SizeIs(1));
    HandedIn fault = Result(leases[0], "");
    fault.row.result = {.outcome = job::Outcome::kDeviceFault, .exit_code = 0, .outputs = {}};
    fault.row.detail = "signed by a stranger";
    HandIn(leases[0], fault);
  }
  EXPECT_EQ(jobs_.at(job).progress.state, JobState::kFailed);
  EXPECT_THAT(jobs_.at(job).progress.error, HasSubstr("signed by a stranger"));
}

TEST_F(GridTest, CancellingStopsWhatRuns) {
  const DeviceId ann = Join("ann");
  const JobId job = Submit(2, 1, 1);
  const Lease a = PollFor(ann, 1).at(0);
  const Effects cancel = Apply(CancelJob{job});
  EXPECT_THAT(cancel.ended, ElementsAre(a.attempt));
  const Effects beat = Apply(Heartbeat{ann, Power::kMains, {{a.attempt, 0.5}}});
  ASSERT_THAT(std::get<std::vector<Stop>>(beat.reply), SizeIs(1));
  EXPECT_FALSE(HandIn(a, Result(a, "x")).accepted);
  EXPECT_EQ(reputations_[ann].refused, 0u) << "called off, not late";
  EXPECT_THAT(PollFor(ann, 1), IsEmpty());
}

TEST_F(GridTest, ADeviceOnBatteryGetsNoWork) {
  const DeviceId ann = Join("ann");
  Submit(1, 1, 1);
  EXPECT_THAT(
      Apply(Poll{.device = ann, .max_shards = 1, .condition = Power::kBattery, .held = {}}).leases,
      IsEmpty());
  EXPECT_THAT(PollFor(ann, 1), SizeIs(1));
}

TEST_F(GridTest, AWaitingDeviceGetsWorkTheMomentAJobComes) {
  const DeviceId ann = Join("ann"), bob = Join("bob");
  PollFor(ann, 2);
  PollFor(bob, 2);
  Apply(StopPolling{bob});
  Submit(3, 1, 1);
  EXPECT_THAT(attempts_, SizeIs(2));
  EXPECT_EQ(attempts_.begin()->second.device, ann);
}

TEST_F(GridTest, ARestartKeepsLeasesVotesAndCounts) {
  const DeviceId ann = Join("ann"), bob = Join("bob");
  const JobId job = Submit(2, 2, 2);
  const std::vector<Lease> a = PollFor(ann, 2), b = PollFor(bob, 1);
  HandIn(a[0], Result(a[0], "x"));
  Restart();
  EXPECT_THAT(grid_->LiveLeases(), SizeIs(3));
  HandIn(b[0], Result(b[0], "x"));
  EXPECT_EQ(jobs_.at(job).progress.done, 1u);
  HandIn(a[1], Result(a[1], "x"));
  Restart();
  const Lease last = PollFor(bob, 1).at(0);
  HandIn(last, Result(last, "x"));
  EXPECT_EQ(jobs_.at(job).progress.state, JobState::kDone);
}

TEST_F(GridTest, AfterARestartTheLeaseOfASilentDeviceLastsOneTtl) {
  const DeviceId ann = Join("ann"), bob = Join("bob");
  Submit(1, 1, 1);
  PollFor(ann, 1);
  now_ms_ += GridConfig().lease_ttl_ms() - 1;
  Apply(Tick{});
  Restart();
  now_ms_ += GridConfig().lease_ttl_ms() - 1;
  Apply(Tick{});
  EXPECT_THAT(PollFor(bob, 1), IsEmpty());
  now_ms_ += 1 + kExpiryStepMs;
  EXPECT_THAT(Apply(Tick{}).leases, SizeIs(1));
}

}  // namespace
}  // namespace corpgrid::core
