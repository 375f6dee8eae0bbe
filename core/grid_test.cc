#include "core/grid.h"

#include <map>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace corpgrid::core {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

// A grid with what a daemon would keep: the rows.
class GridTest : public ::testing::Test {
 protected:
  GridTest() { Restart(); }

  Effects Apply(decltype(Command::body) body) {
    Command command;
    command.time_ms = now_ms_;
    command.wall_ms = 1'000'000 + now_ms_;
    command.seed[0] = static_cast<uint8_t>(++commands_);
    command.body = std::move(body);
    Effects effects = grid_->Apply(command);
    Keep(effects.rows);
    return effects;
  }

  void Keep(const WriteBatch& rows) {
    for (const auto& row : rows.join_tokens) tokens_[row.secret_hash] = row;
    for (const auto& row : rows.devices) devices_[row.id] = row;
    for (const auto& row : rows.reputations) reputations_[row.device] = row;
    for (const auto& row : rows.jobs) jobs_[row.id] = row;
    for (const auto& row : rows.job_progress) jobs_.at(row.id).progress = row;
    for (const auto& row : rows.shards) shards_[row.id] = row;
    for (const auto& row : rows.attempts) attempts_[row.id] = row;
    for (const auto& row : rows.results) results_[row.attempt] = row;
  }

  // What a restart of the scheduler does: only the rows survive.
  void Restart() {
    Snapshot snapshot;
    if (grid_) snapshot.meta = grid_->meta();
    snapshot.meta.grid_id = "test";
    for (const auto& [key, row] : tokens_) snapshot.join_tokens.push_back(row);
    for (const auto& [key, row] : devices_) snapshot.devices.push_back(row);
    for (const auto& [key, row] : reputations_) snapshot.reputations.push_back(row);
    for (const auto& [id, row] : jobs_) {
      if (row.progress.finished_wall_ms != 0) {
        snapshot.finished_keys.emplace_back(row.idempotency_key, id);
        continue;
      }
      snapshot.jobs.push_back(row);
      for (const auto& [shard_id, shard] : shards_) {
        if (shard_id.job == id && shard.state == ShardState::kRunning)
          snapshot.shards.push_back(shard);
      }
    }
    for (const auto& [id, row] : attempts_) {
      const auto job = jobs_.find(row.shard.job);
      if (job->second.progress.finished_wall_ms != 0) continue;
      if (shards_.at(row.shard).state != ShardState::kRunning) continue;
      snapshot.attempts.push_back(row);
      if (results_.contains(id)) snapshot.results.push_back(results_.at(id));
    }
    auto grid = Grid::Load({}, std::move(snapshot));
    ASSERT_TRUE(grid.ok()) << grid.status().ToString();
    grid_ = std::make_unique<Grid>(*std::move(grid));
  }

  DeviceId Join(const std::string& owner) {
    const crypto::Hash secret = crypto::Blake3(owner + std::to_string(commands_));
    Apply(CreateJoinToken{
        {.secret_hash = secret, .owner = owner, .uses_left = 1, .idempotency_key = secret.Hex()}});
    RegisterDevice c;
    c.device.public_key = secret.Hex();
    c.device.name = owner + "'s";
    c.device.cpus = 4;
    c.device.memory_bytes = 8ull << 30;
    c.device.backends = 1;
    c.join_secret_hash = secret;
    return std::get<Registered>(Apply(c).reply).device;
  }

  JobId Submit(uint32_t shards, uint32_t replicas, uint32_t quorum, uint32_t retries = 0,
               const std::string& key = "key") {
    job::JobFields fields;
    fields.name = "test";
    fields.command = {"/bin/true"};
    fields.shards = shards;
    fields.redundancy.replicas = replicas;
    fields.redundancy.quorum = quorum;
    fields.retries = retries;
    const auto spec = job::JobSpec::Make(fields);
    EXPECT_TRUE(spec.ok()) << spec.status().ToString();
    return std::get<Submitted>(Apply(SubmitJob{.idempotency_key = key,
                                               .spec = *spec,
                                               .spec_hash = {},
                                               .bundle_hash = {},
                                               .bundle_bytes = 0,
                                               .submitter_key = "",
                                               .signature = ""})
                                   .reply)
        .job;
  }

  std::vector<Lease> PollFor(DeviceId device, uint32_t shards, std::vector<AttemptId> held = {}) {
    return Apply(Poll{.device = device,
                      .max_shards = shards,
                      .power = Power::kMains,
                      .held = std::move(held)})
        .leases;
  }

  static HandedIn Result(const Lease& lease, const std::string& bytes, int exit_code = 0) {
    HandedIn in;
    in.row.attempt = lease.attempt;
    in.row.result.outcome = job::Outcome::kExited;
    in.row.result.exit_code = exit_code;
    if (exit_code == 0) in.row.result.outputs = {{"out", crypto::Blake3(bytes), bytes.size()}};
    in.lease_token = lease.token;
    return in;
  }

  Verdict HandIn(const Lease& lease, const HandedIn& in) {
    last_ = Apply(SubmitResults{lease.device, {in}});
    return std::get<std::vector<Verdict>>(last_.reply).at(0);
  }

  int64_t now_ms_ = 1;
  uint64_t commands_ = 0;
  Effects last_;
  std::unique_ptr<Grid> grid_;
  std::map<crypto::Hash, JoinTokenRow> tokens_;
  std::map<DeviceId, DeviceRow> devices_;
  std::map<DeviceId, ReputationRow> reputations_;
  std::map<JobId, JobRow> jobs_;
  std::map<ShardId, ShardRow> shards_;
  std::map<AttemptId, AttemptRow> attempts_;
  std::map<AttemptId, ResultRow> results_;
};

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
  now_ms_ += GridConfig().lease_ttl_ms();
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
  const Lease b = PollFor(ann, 1).at(0);
  HandIn(b, Result(b, "", 7));
  EXPECT_EQ(jobs_.at(job).progress.state, JobState::kFailed);
  EXPECT_THAT(jobs_.at(job).progress.error, HasSubstr("ended with status 7"));
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
      Apply(Poll{.device = ann, .max_shards = 1, .power = Power::kBattery, .held = {}}).leases,
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

TEST_F(GridTest, ACheckpointGoesWithTheNextLease) {
  const DeviceId ann = Join("ann"), bob = Join("bob");
  Submit(1, 1, 1);
  const Lease a = PollFor(ann, 1).at(0);
  const crypto::Hash state = crypto::Blake3("state");
  EXPECT_FALSE(
      std::get<absl::Status>(Apply(ReportCheckpoint{bob, a.attempt, a.token, state}).reply).ok());
  EXPECT_TRUE(
      std::get<absl::Status>(Apply(ReportCheckpoint{ann, a.attempt, a.token, state}).reply).ok());
  now_ms_ += GridConfig().lease_ttl_ms();
  Apply(Tick{});
  Restart();
  EXPECT_EQ(PollFor(bob, 1).at(0).checkpoint, state);
}

}  // namespace
}  // namespace corpgrid::core
