// What trusted devices are for: audits, probes and bounds.

#include <string>
#include <utility>
#include <vector>

#include "core/test_trust.h"

namespace corpgrid::core {
namespace {

using ::testing::Contains;
using ::testing::IsEmpty;
using ::testing::SizeIs;

TEST_F(GridTrustTest, TrustIsToldOnceAndNamesADevice) {
  Apply(TrustDevice{.device = ann_});
  EXPECT_TRUE(devices_.at(ann_).trusted);
  const size_t entries = audit_.size();
  Apply(TrustDevice{.device = ann_});
  EXPECT_THAT(audit_, SizeIs(entries));
  EXPECT_EQ(CountOf("device trusted"), 1u);
  Apply(TrustDevice{.device = ann_, .trusted = false});
  EXPECT_FALSE(devices_.at(ann_).trusted);
  EXPECT_EQ(CountOf("device trusted no more"), 1u);
  const Reply reply = Apply(TrustDevice{.device = DeviceId{99}}).reply;
  EXPECT_TRUE(absl::IsNotFound(std::get<absl::Status>(reply)));
}

TEST_F(GridTrustTest, TrustOutlivesARestartAndARegistration) {
  Apply(TrustDevice{.device = ann_});
  Restart();
  RegisterDevice again;
  again.device = devices_.at(ann_);
  again.device.trusted = false;  // What a device says of itself does not matter.
  Apply(again);
  EXPECT_TRUE(devices_.at(ann_).trusted);
  again.device = devices_.at(bob_);
  again.device.trusted = true;
  Apply(again);
  EXPECT_FALSE(devices_.at(bob_).trusted);
}

TEST_F(GridTrustTest, ATrustedDevicesResultIsEnoughAlone) {
  const DeviceId eve = JoinTrusted("eve");
  const JobId job = Submit(1, 2, 2);
  const Lease lie = PollFor(ann_, 1).at(0);
  HandIn(lie, Result(lie, "wrong"));
  const Lease truth = Compute(eve, "right");
  EXPECT_EQ(ProgressOf(job).state, JobState::kDone);
  EXPECT_EQ(ShardOf(job).winner, truth.attempt);
  EXPECT_EQ(attempts_.at(lie.attempt).state, AttemptState::kDisagreed);
  EXPECT_EQ(ProgressOf(job).checked, 1u);
  EXPECT_EQ(ProgressOf(job).audited, 0u) << "nothing had been accepted";
  EXPECT_EQ(ProgressOf(job).bound_billionths, 0);
}

TEST_F(GridTrustTest, AnAuditFindsWhatTwoLiarsAgreedOn) {
  const DeviceId eve = JoinTrusted("eve");
  const JobId job = Submit(1, 2, 2);
  const Lease first = Compute(ann_, "lie");
  const Lease second = Compute(bob_, "lie");
  EXPECT_EQ(ProgressOf(job).state, JobState::kRunning) << "the audit comes first";
  EXPECT_EQ(ShardOf(job).audit, AuditState::kWanted);
  EXPECT_THAT(PollFor(Join("cat"), 1), IsEmpty()) << "nobody else is asked";
  const Lease audit = Compute(eve, "right");
  EXPECT_TRUE(attempts_.at(audit.attempt).trusted);
  EXPECT_THAT(last_.keep, Contains(std::pair(audit.attempt, job)));
  EXPECT_THAT(last_.keep, SizeIs(1));
  EXPECT_EQ(ProgressOf(job).state, JobState::kDone);
  EXPECT_EQ(ShardOf(job).winner, audit.attempt);
  EXPECT_EQ(ProgressOf(job).audited, 1u);
  EXPECT_EQ(ProgressOf(job).found_wrong, 1u);
  EXPECT_EQ(ProgressOf(job).bound_billionths, 0) << "nothing is left unchecked";
  for (const Lease& lie : {first, second}) {
    EXPECT_EQ(attempts_.at(lie.attempt).state, AttemptState::kDisagreed);
    EXPECT_EQ(reputations_.at(lie.device).disagreed, 1u);
    EXPECT_GT(reputations_.at(lie.device).bad_micro, 0);
  }
  EXPECT_EQ(CountOf("wrong result found"), 1u);
  EXPECT_EQ(CountOf("result outvoted"), 2u);
}

TEST_F(GridTrustTest, WhoeverIsRefutedLosesWhatSpokeForIt) {
  const DeviceId eve = JoinTrusted("eve");
  Submit(3, 2, 2);
  for (const char* bytes : {"right", "right", "lie"}) {
    Compute(ann_, bytes);
    Compute(bob_, bytes);
    Compute(eve, "right");
    if (bytes[0] == 'r') {
      EXPECT_GT(reputations_.at(ann_).good_micro, 0);
    }
  }
  EXPECT_EQ(reputations_.at(ann_).good_micro, 0);
  EXPECT_EQ(reputations_.at(ann_).checked, 0u);
  EXPECT_EQ(TierOf(reputations_.at(ann_), now_ms_), Tier::kBad);
}

TEST_F(GridTrustTest, AnAuditThatAgreesSpeaksForTheDevices) {
  const DeviceId eve = JoinTrusted("eve");
  const JobId job = Submit(1, 2, 2);
  Compute(ann_, "right");
  Compute(bob_, "right");
  Compute(eve, "right");
  EXPECT_EQ(ProgressOf(job).state, JobState::kDone);
  EXPECT_EQ(ProgressOf(job).found_wrong, 0u);
  EXPECT_EQ(reputations_.at(ann_).checked, 1u);
  EXPECT_EQ(reputations_.at(ann_).agreed, 1u);
  EXPECT_EQ(reputations_.at(eve).checked, 0u) << "it does not check itself";
  EXPECT_EQ(CountOf("wrong result found"), 0u);
}

TEST_F(GridTrustTest, ARestartInTheMiddleOfAnAuditChangesNothing) {
  const DeviceId eve = JoinTrusted("eve");
  const JobId job = Submit(1, 2, 2);
  Compute(ann_, "lie");
  Compute(bob_, "lie");
  Restart();
  EXPECT_THAT(PollFor(Join("cat"), 1), IsEmpty());
  const Lease audit = PollFor(eve, 1).at(0);
  Restart();
  EXPECT_THAT(PollFor(eve, 1, {audit.attempt}), IsEmpty()) << "it is under way";
  HandIn(audit, Result(audit, "right"));
  EXPECT_EQ(ProgressOf(job).state, JobState::kDone);
  EXPECT_EQ(ProgressOf(job).found_wrong, 1u);
  EXPECT_EQ(ShardOf(job).winner, audit.attempt);
}

TEST_F(GridTrustTest, AnAcceptedShardWithoutItsResultsIsDamage) {
  JoinTrusted("eve");
  Submit(1, 2, 2);
  Compute(ann_, "x");
  Compute(bob_, "x");
  results_.clear();
  Snapshot snapshot = ToSnapshot();
  const absl::Status status = Grid::Load(config_, std::move(snapshot)).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss);
  EXPECT_EQ(status.message(), "shard 0 of job 1 was accepted without a result");
}

TEST_F(GridTrustTest, AnAuditWhoseDeviceFallsSilentIsGivenAgain) {
  const DeviceId eve = JoinTrusted("eve");
  const JobId job = Submit(1, 2, 2);
  Compute(ann_, "lie");
  Compute(bob_, "lie");
  PollFor(eve, 1);
  now_ms_ += PastTtlMs();
  Apply(Tick{});
  EXPECT_EQ(ShardOf(job).audit, AuditState::kWanted);
  Compute(eve, "right");
  EXPECT_EQ(ProgressOf(job).found_wrong, 1u);
}

TEST_F(GridTrustTest, AnAuditThatNobodyBeginsIsDroppedAndCountsAsWrong) {
  JoinTrusted("eve");
  const JobId job = Submit(1, 2, 2);
  const Lease first = Compute(ann_, "x");
  Compute(bob_, "x");
  now_ms_ += Grid::kAuditPatienceMs - 1;
  Apply(Tick{});
  EXPECT_EQ(ProgressOf(job).state, JobState::kRunning);
  now_ms_ += 1;
  Apply(Tick{});
  EXPECT_EQ(ProgressOf(job).state, JobState::kDone);
  EXPECT_EQ(ShardOf(job).winner, first.attempt);
  EXPECT_EQ(ProgressOf(job).audits_dropped, 1u);
  EXPECT_EQ(ProgressOf(job).bound_billionths, 1'000'000'000);
}

TEST_F(GridTrustTest, AnAuditThatRunsIsNotDropped) {
  const DeviceId eve = JoinTrusted("eve");
  const JobId job = Submit(1, 2, 2);
  Compute(ann_, "lie");
  Compute(bob_, "lie");
  const Lease audit = PollFor(eve, 1).at(0);
  for (int i = 0; i < 40; ++i) {
    now_ms_ += 5'000;
    Apply(Heartbeat{.device = eve, .attempts = {{audit.attempt, 0.5}}});
    Apply(Tick{});
  }
  HandIn(audit, Result(audit, "right"));
  EXPECT_EQ(ProgressOf(job).found_wrong, 1u);
}

TEST_F(GridTrustTest, WithoutATrustedDeviceAllMayBeWrong) {
  const JobId job = Submit(1, 2, 2);
  Compute(ann_, "x");
  Compute(bob_, "x");
  EXPECT_EQ(ProgressOf(job).state, JobState::kDone);
  EXPECT_EQ(ProgressOf(job).unsampled, 1u);
  EXPECT_EQ(ProgressOf(job).bound_billionths, 1'000'000'000);
}

TEST_F(GridTrustTest, WhatCouldNotBeAuditedMayAllBeWrong) {
  const DeviceId eve = Join("eve");
  const JobId job = Submit(4, 2, 2);
  for (int i = 0; i < 3; ++i) {
    Compute(ann_, "x");
    Compute(bob_, "x");
  }
  Apply(TrustDevice{.device = eve});
  Compute(eve, "x");
  EXPECT_EQ(ProgressOf(job).state, JobState::kDone);
  EXPECT_EQ(ProgressOf(job).checked, 1u);
  EXPECT_EQ(ProgressOf(job).bound_billionths, 750'000'000);
}

TEST_F(GridTrustTest, AJobKeepsTheRateThatItWasSubmittedUnder) {
  const DeviceId eve = JoinTrusted("eve");
  const JobId job = Submit(19, 2, 2);
  AuditAt(0);
  Apply(Heartbeat{.device = eve, .condition = Power::kMains, .attempts = {}});
  for (int i = 0; i < 19; ++i) {
    Compute(ann_, "x");
    Compute(bob_, "x");
    Compute(eve, "x");
  }
  EXPECT_EQ(ProgressOf(job).audited, 19u);
  EXPECT_EQ(ProgressOf(job).bound_billionths, 0);
}

TEST_F(GridTrustTest, TheCoinIsAnotherForEachShardAndSeed) {
  AuditAt(0.5);
  const DeviceId eve = JoinTrusted("eve");
  const JobId job = Submit(200, 2, 2);
  std::vector<Lease> one = PollFor(ann_, 200), other = PollFor(bob_, 200);
  for (const std::vector<Lease>& leases : {one, other}) {
    std::vector<HandedIn> results;
    for (const Lease& lease : leases) results.push_back(Result(lease, "x"));
    Apply(SubmitResults{leases[0].device, results});  // all under one seed
  }
  const size_t audits = 200 - ProgressOf(job).done;
  EXPECT_GT(audits, 70u);
  EXPECT_LT(audits, 130u);
  EXPECT_THAT(PollFor(eve, 200), SizeIs(audits));
}

TEST_F(GridTrustTest, WhoIsTrustedNoMoreFinishesNoAudit) {
  const DeviceId eve = JoinTrusted("eve");
  const DeviceId dan = JoinTrusted("dan");
  const JobId job = Submit(1, 2, 2);
  Compute(ann_, "right");
  Compute(bob_, "right");
  const Lease audit = PollFor(eve, 1).at(0);
  Apply(TrustDevice{.device = eve, .trusted = false});
  EXPECT_EQ(attempts_.at(audit.attempt).state, AttemptState::kCancelled);
  EXPECT_FALSE(HandIn(audit, Result(audit, "lie")).accepted);
  EXPECT_THAT(PollFor(eve, 1), IsEmpty());
  Compute(dan, "right");
  EXPECT_EQ(ProgressOf(job).state, JobState::kDone);
  EXPECT_EQ(ProgressOf(job).found_wrong, 0u);
}

TEST_F(GridTrustTest, WhereOneResultIsEnoughAnAuditMendsAndBlamesNobody) {
  const DeviceId eve = JoinTrusted("eve");
  const JobId job = Submit(1, 1, 1);
  Compute(ann_, "12:01");
  const Lease audit = Compute(eve, "12:02");
  EXPECT_EQ(ShardOf(job).winner, audit.attempt);
  EXPECT_EQ(ProgressOf(job).found_wrong, 1u);
  EXPECT_EQ(reputations_.at(ann_).disagreed, 0u);
  EXPECT_EQ(reputations_.at(ann_).bad_micro, 0);
}

TEST_F(GridTrustTest, ATrustedDeviceGoesOnFromNobodyElsesState) {
  job::JobFields fields;
  fields.name = "saves";
  fields.command = {"/bin/true"};
  fields.checkpoint = job::Checkpoint{};
  Submit(fields, "saves");
  const Lease lease = PollFor(ann_, 1).at(0);
  Apply(ReportCheckpoint{.device = ann_,
                         .attempt = lease.attempt,
                         .lease_token = lease.token,
                         .state = crypto::Blake3("poisoned")});
  now_ms_ += PastTtlMs();
  Apply(Tick{});
  const DeviceId eve = JoinTrusted("eve");
  const Lease own = PollFor(eve, 1).at(0);
  EXPECT_FALSE(own.checkpoint.has_value());
  Apply(ReportCheckpoint{.device = eve,
                         .attempt = own.attempt,
                         .lease_token = own.token,
                         .state = crypto::Blake3("own")});
  now_ms_ += PastTtlMs();
  Apply(Tick{});
  EXPECT_EQ(PollFor(eve, 1).at(0).checkpoint, crypto::Blake3("own"));
}

TEST_F(GridTrustTest, ANumericAuditWaitsForAllComparisons) {
  const DeviceId eve = JoinTrusted("eve");
  job::JobFields fields;
  fields.name = "numbers";
  fields.command = {"/bin/true"};
  fields.outputs = {"out"};
  fields.redundancy = {.replicas = 2, .quorum = 2, .validator = job::Validator::kNumeric};
  fields.redundancy.tolerance.relative = 1e-6;
  const JobId job = Submit(fields, "numbers");
  const Lease first = Compute(ann_, "1.0");
  const Lease second = Compute(bob_, "1.0000001");
  Apply(Compared{.attempt = first.attempt});
  Apply(Compared{.attempt = second.attempt, .close = {first.attempt}});
  EXPECT_EQ(ShardOf(job).audit, AuditState::kWanted);
  Restart();  // Closeness is not kept: it is asked for again.
  const Lease audit = Compute(eve, "1.00000005");
  Apply(Compared{.attempt = audit.attempt, .close = {first.attempt, second.attempt}});
  EXPECT_EQ(ProgressOf(job).state, JobState::kRunning) << "the others do not count yet";
  Apply(Compared{.attempt = first.attempt});
  Apply(Compared{.attempt = second.attempt, .close = {first.attempt}});
  EXPECT_EQ(ProgressOf(job).state, JobState::kDone);
  EXPECT_EQ(ProgressOf(job).found_wrong, 0u);
  EXPECT_EQ(attempts_.at(second.attempt).state, AttemptState::kAgreed);
}

TEST_F(GridTrustTest, AProbeShowsWhatADeviceDoesWithAKnownAnswer) {
  const DeviceId eve = JoinTrusted("eve");
  const JobId job = Submit(2, 2, 2);
  std::vector<Lease> known = PollFor(eve, 2);
  for (const auto& [device, answer] : {std::pair(ann_, "lie"), std::pair(bob_, "right")}) {
    EXPECT_THAT(PollFor(device, 1), IsEmpty()) << "a trusted device needs no other";
    HandIn(known.back(), Result(known.back(), "right"));
    ASSERT_THAT(last_.leases, SizeIs(1));
    const Lease probe = last_.leases[0];
    EXPECT_EQ(probe.device, device);
    EXPECT_EQ(shards_.at(probe.shard).audit, AuditState::kProbe);
    Restart();
    HandIn(probe, Result(probe, answer));
    EXPECT_EQ(shards_.at(probe.shard).winner, known.back().attempt);
    known.pop_back();
  }
  EXPECT_EQ(ProgressOf(job).state, JobState::kDone);
  EXPECT_EQ(reputations_.at(ann_).disagreed, 1u);
  EXPECT_EQ(reputations_.at(bob_).checked, 1u);
  EXPECT_EQ(ProgressOf(job).checked, 2u);
  EXPECT_EQ(ProgressOf(job).audited, 0u) << "nothing was accepted without it";
}

TEST_F(GridTrustTest, AProbeThatNobodyTakesIsDropped) {
  const DeviceId eve = JoinTrusted("eve");
  const JobId job = Submit(1, 2, 2);
  const Lease known = PollFor(eve, 1).at(0);
  PollFor(ann_, 1);
  HandIn(known, Result(known, "right"));
  const Lease probe = last_.leases.at(0);
  EXPECT_THAT(PollFor(JoinTrusted("dan"), 1), IsEmpty()) << "it is for those who are not trusted";
  HandIn(probe, GivenBack(probe));
  EXPECT_EQ(ProgressOf(job).state, JobState::kRunning);
  now_ms_ += Grid::kAuditPatienceMs;
  Apply(Tick{});
  EXPECT_EQ(ProgressOf(job).state, JobState::kDone);
  EXPECT_EQ(ShardOf(job).winner, known.attempt);
  EXPECT_EQ(ProgressOf(job).audits_dropped, 0u);
}

TEST_F(GridTrustTest, NothingWaitsForAProbeThatNobodyHasTimeFor) {
  const DeviceId eve = JoinTrusted("eve");
  const JobId job = Submit(1, 2, 2);
  Compute(eve, "right");
  EXPECT_EQ(ProgressOf(job).state, JobState::kDone);
}

}  // namespace
}  // namespace corpgrid::core
