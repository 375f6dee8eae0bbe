#include <optional>
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
using ::testing::Not;
using ::testing::SizeIs;

class GridCheckpointTest : public ::testing::Test, protected TestGrid {
 protected:
  JobId SubmitLong(uint32_t shards, uint32_t replicas, uint32_t quorum, uint32_t retries = 0,
                   job::Distinct distinct = job::Distinct::kOwner) {
    job::JobFields fields;
    fields.name = "long";
    fields.command = {"/bin/true"};
    fields.shards = shards;
    fields.redundancy.replicas = replicas;
    fields.redundancy.quorum = quorum;
    fields.redundancy.distinct = distinct;
    fields.retries = retries;
    fields.checkpoint = job::Checkpoint{};
    return Submit(fields, std::to_string(commands_));
  }

  absl::Status Report(const Lease& lease, const std::string& state) {
    last_ = Apply(ReportCheckpoint{.device = lease.device,
                                   .attempt = lease.attempt,
                                   .lease_token = lease.token,
                                   .state = crypto::Blake3(state)});
    return std::get<absl::Status>(last_.reply);
  }

  static HandedIn Back(const Lease& lease) {
    HandedIn in = Result(lease, "");
    in.row.result = {.outcome = job::Outcome::kGivenBack, .exit_code = 0, .outputs = {}};
    return in;
  }

  void Expire() {
    now_ms_ += PastTtlMs();
    last_ = Apply(Tick{});
  }
};

TEST_F(GridCheckpointTest, AnotherDeviceGoesOnFromTheLastState) {
  const DeviceId ann = Join("ann"), bob = Join("bob");
  SubmitLong(1, 1, 1);
  const Lease a = PollFor(ann, 1).at(0);
  EXPECT_EQ(a.checkpoint, std::nullopt);
  ASSERT_TRUE(Report(a, "one").ok());
  ASSERT_TRUE(Report(a, "two").ok());
  EXPECT_THAT(last_.drop_states, IsEmpty()) << "both are in one scope";
  Restart();
  Expire();
  EXPECT_THAT(last_.drop_states, IsEmpty()) << "the state outlives its attempt";
  const Lease b = PollFor(bob, 1).at(0);
  EXPECT_EQ(b.checkpoint, crypto::Blake3("two"));
  EXPECT_THAT(grid_->AttemptsWithState(), ElementsAre(a.attempt));
  ASSERT_TRUE(Report(b, "three").ok());
  EXPECT_THAT(last_.drop_states, ElementsAre(a.attempt)) << "nobody needs the older any more";
  Expire();
  EXPECT_EQ(PollFor(ann, 1).at(0).checkpoint, crypto::Blake3("three"));
}

TEST_F(GridCheckpointTest, ALeaseThatIsGivenAgainHasTheState) {
  const DeviceId ann = Join("ann");
  SubmitLong(1, 1, 1);
  const Lease a = PollFor(ann, 1).at(0);
  ASSERT_TRUE(Report(a, "one").ok());
  EXPECT_EQ(PollFor(ann, 1).at(0).checkpoint, crypto::Blake3("one"));
  EXPECT_EQ(grid_->LiveLeases().at(0).checkpoint, crypto::Blake3("one"));
}

// A liar's state that an honest device goes on from makes two votes of one lie.
TEST_F(GridCheckpointTest, NoVoteBeginsWithTheStateOfAnotherParty) {
  const DeviceId liar = Join("liar"), ann = Join("ann"), bob = Join("bob");
  SubmitLong(1, 2, 2);
  const Lease l = PollFor(liar, 1).at(0), a = PollFor(ann, 1).at(0);
  ASSERT_TRUE(Report(l, "a lie").ok());
  ASSERT_TRUE(Report(a, "true").ok());
  for (int i = 0; i < 3; ++i) {  // keeps the liar's lease, lets ann's run out
    now_ms_ += GridConfig().lease_ttl_ms() / 2;
    Apply(Heartbeat{liar, Power::kMains, {{l.attempt, 0.5}}});
    Apply(Tick{});
  }
  EXPECT_EQ(PollFor(bob, 1).at(0).checkpoint, std::nullopt);
  Expire();  // all of them
  Restart();
  EXPECT_EQ(PollFor(ann, 1).at(0).checkpoint, crypto::Blake3("true")) << "ann's own";
  EXPECT_EQ(PollFor(liar, 1).at(0).checkpoint, crypto::Blake3("a lie"));
}

TEST_F(GridCheckpointTest, CopiesThatOneResultDecidesAreIndependentToo) {
  const DeviceId liar = Join("liar"), ann = Join("ann"), bob = Join("bob");
  SubmitLong(1, 2, 1);
  ASSERT_TRUE(Report(PollFor(liar, 1).at(0), "a lie").ok());
  EXPECT_EQ(PollFor(ann, 1).at(0).checkpoint, std::nullopt);
  Expire();
  EXPECT_EQ(PollFor(bob, 1).at(0).checkpoint, std::nullopt);
}

TEST_F(GridCheckpointTest, DevicesOfOneOwnerShareOnlyWhereTheyHaveOneVoice) {
  const DeviceId one = Join("ann"), two = Join("ann");
  SubmitLong(1, 2, 2);
  ASSERT_TRUE(Report(PollFor(one, 1).at(0), "state").ok());
  Expire();
  EXPECT_EQ(PollFor(two, 1).at(0).checkpoint, crypto::Blake3("state"));
  Expire();
  SubmitLong(1, 2, 2, 0, job::Distinct::kDevice);
  const std::vector<Lease> ones = PollFor(one, 2);
  ASSERT_THAT(ones, SizeIs(2));
  ASSERT_TRUE(Report(ones.at(1), "of one").ok());
  for (const Lease& lease : PollFor(two, 2)) EXPECT_NE(lease.checkpoint, crypto::Blake3("of one"));
}

TEST_F(GridCheckpointTest, OnlyWhoRunsItMayReport) {
  const DeviceId ann = Join("ann"), bob = Join("bob");
  SubmitLong(1, 1, 1);
  const Lease a = PollFor(ann, 1).at(0);
  Lease stolen = a;
  stolen.device = bob;
  EXPECT_TRUE(absl::IsFailedPrecondition(Report(stolen, "x")));
  Lease guessed = a;
  guessed.token = "guess";
  EXPECT_TRUE(absl::IsFailedPrecondition(Report(guessed, "x")));
  Expire();
  const Lease b = PollFor(bob, 1).at(0);
  EXPECT_TRUE(absl::IsFailedPrecondition(Report(a, "late")));
  EXPECT_EQ(b.checkpoint, std::nullopt);
  EXPECT_THAT(checkpoints_, IsEmpty());
}

TEST_F(GridCheckpointTest, AJobWithoutCheckpointsTakesNone) {
  const DeviceId ann = Join("ann");
  Submit(1, 1, 1);
  EXPECT_TRUE(absl::IsInvalidArgument(Report(PollFor(ann, 1).at(0), "x")));
}

TEST_F(GridCheckpointTest, AStateGoesWithItsShardOrJob) {
  const DeviceId ann = Join("ann");
  const JobId job = SubmitLong(2, 1, 1);
  const std::vector<Lease> leases = PollFor(ann, 2);
  ASSERT_TRUE(Report(leases.at(0), "x").ok());
  ASSERT_TRUE(Report(leases.at(1), "y").ok());
  HandIn(leases[0], Result(leases[0], "out"));
  EXPECT_THAT(last_.drop_states, Contains(leases[0].attempt));
  EXPECT_THAT(last_.drop_states, Not(Contains(leases[1].attempt)));
  EXPECT_THAT(checkpoints_, SizeIs(1));
  last_ = Apply(CancelJob{job});
  EXPECT_THAT(last_.drop_states, Contains(leases[1].attempt));
  EXPECT_THAT(checkpoints_, IsEmpty());
}

TEST_F(GridCheckpointTest, AnUnreportedStateGoesWithItsAttempt) {
  const DeviceId ann = Join("ann");
  SubmitLong(1, 1, 1);
  const Lease a = PollFor(ann, 1).at(0);
  Expire();
  EXPECT_THAT(last_.drop_states, ElementsAre(a.attempt));
}

TEST_F(GridCheckpointTest, ARetryBeginsAtTheBeginning) {
  const DeviceId ann = Join("ann");
  SubmitLong(1, 1, 1, 1);
  const Lease a = PollFor(ann, 1).at(0);
  ASSERT_TRUE(Report(a, "poisoned").ok());
  HandIn(a, Result(a, "", 1));
  AfterRetryDelay();
  EXPECT_THAT(last_.drop_states, Contains(a.attempt));
  EXPECT_EQ(PollFor(ann, 1).at(0).checkpoint, std::nullopt);
  EXPECT_THAT(checkpoints_, IsEmpty());
}

TEST_F(GridCheckpointTest, AReportExtendsTheLease) {
  const DeviceId ann = Join("ann");
  SubmitLong(1, 1, 1);
  const Lease a = PollFor(ann, 1).at(0);
  for (int i = 0; i < 5; ++i) {
    now_ms_ += GridConfig().lease_ttl_ms() - 1;
    ASSERT_TRUE(Report(a, std::to_string(i)).ok());
    Apply(Tick{});
  }
  EXPECT_TRUE(HandIn(a, Result(a, "x")).accepted);
}

TEST_F(GridCheckpointTest, ADeviceThatGoesOnBatteryIsToldToSaveAndGiveBack) {
  const DeviceId ann = Join("ann"), bob = Join("bob");
  SubmitLong(2, 1, 1);
  const std::vector<Lease> leases = PollFor(ann, 2);
  HandIn(leases.at(1), Result(leases.at(1), "x"));
  now_ms_ += GridConfig().lease_ttl_ms() - 1;
  const auto stops = std::get<std::vector<Stop>>(
      Apply(Heartbeat{ann, Power::kBattery, {{leases.at(0).attempt, 0.5}}}).reply);
  ASSERT_THAT(stops, SizeIs(1));
  EXPECT_EQ(stops[0].attempt, leases.at(0).attempt);
  EXPECT_TRUE(stops[0].give_back);
  now_ms_ += GridConfig().lease_ttl_ms() - 1;
  Apply(Tick{});
  ASSERT_TRUE(Report(leases.at(0), "state").ok()) << "it has a lease for as long as that takes";
  EXPECT_TRUE(HandIn(leases.at(0), Back(leases.at(0))).accepted);
  EXPECT_THAT(last_.drop_states, IsEmpty());
  EXPECT_EQ(attempts_.at(leases.at(0).attempt).state, AttemptState::kGivenBack);
  EXPECT_EQ(PollFor(bob, 1).at(0).checkpoint, crypto::Blake3("state"));
}

TEST_F(GridCheckpointTest, GivingBackIsNobodysFault) {
  const DeviceId ann = Join("ann"), bob = Join("bob");
  const JobId job = SubmitLong(1, 1, 1);
  for (int i = 0; i < 100; ++i) {
    const std::vector<Lease> got = PollFor(ann, 1);
    ASSERT_THAT(got, SizeIs(1)) << i;
    EXPECT_TRUE(HandIn(got[0], Back(got[0])).accepted);
    EXPECT_TRUE(HandIn(got[0], Back(got[0])).accepted) << "a repeated call";
    now_ms_ += Grid::kMaxFaultPauseMs;
    Apply(Tick{});
  }
  const ReputationRow& reputation = reputations_[ann];
  EXPECT_EQ(reputation.faults + reputation.expired + reputation.refused, 0u);
  const Lease b = PollFor(bob, 1).at(0);
  EXPECT_EQ(attempts_.at(b.attempt).try_number, 0u);
  HandIn(b, Result(b, "x"));
  EXPECT_EQ(jobs_.at(job).progress.state, JobState::kDone);
}

// Else one device that gives back at once could keep a shard from everyone.
TEST_F(GridCheckpointTest, WhoGivesBackWaitsForTheSameJob) {
  const DeviceId ann = Join("ann");
  SubmitLong(1, 1, 1);
  const Lease a = PollFor(ann, 1).at(0);
  HandIn(a, Back(a));
  EXPECT_THAT(PollFor(ann, 1), IsEmpty());
  now_ms_ += Grid::kFaultPauseMs;
  EXPECT_THAT(Apply(Tick{}).leases, SizeIs(1));
}

TEST_F(GridCheckpointTest, AWaitingDeviceGetsWorkWhenItIsPluggedInAgain) {
  const DeviceId ann = Join("ann");
  SubmitLong(1, 1, 1);
  EXPECT_THAT(
      Apply(Poll{.device = ann, .max_shards = 1, .condition = Power::kBattery, .held = {}}).leases,
      IsEmpty());
  EXPECT_THAT(Apply(Heartbeat{ann, Power::kBattery, {}}).leases, IsEmpty());
  EXPECT_THAT(Apply(Heartbeat{ann, Power::kMains, {}}).leases, SizeIs(1));
}

TEST_F(GridCheckpointTest, ASnapshotWhoseStateHasNoShardIsDamaged) {
  Snapshot snapshot;
  snapshot.checkpoints = {{.shard = {JobId{1}, 0}, .holder = "", .attempt = {}, .state = {}}};
  EXPECT_THAT(Grid::Load({}, std::move(snapshot)).status().ToString(), HasSubstr("checkpoint"));
}

}  // namespace
}  // namespace corpgrid::core
