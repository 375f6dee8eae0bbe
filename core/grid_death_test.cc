// What devices die of.

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

class DeathTest : public ::testing::Test, protected TestGrid {
 protected:
  DeathTest() {
    for (const char* owner : {"ada", "bob", "cyd", "dan"}) devices_of_.push_back(Join(owner));
  }

  DeviceId device(size_t i) const { return devices_of_.at(i); }

  Effects Report(DeviceId by, const std::vector<Lease>& leases) {
    ReportDeath report{.device = by, .attempts = {}};
    for (const Lease& lease : leases) report.attempts.push_back({lease.attempt, lease.token});
    return Apply(report);
  }

  // The device takes what there is and dies of it.
  std::vector<Lease> DieOf(DeviceId id, uint32_t shards = 1) {
    const std::vector<Lease> leases = PollFor(id, shards);
    Report(id, leases);
    now_ms_ += 1'000;
    return leases;
  }

  std::string JobError(JobId job) { return jobs_.at(job).progress.error; }
  bool Failed(JobId job) { return jobs_.at(job).progress.state == JobState::kFailed; }

  std::vector<DeviceId> devices_of_;
};

TEST_F(DeathTest, AShardThatThreeOwnersDevicesDiedOfFails) {
  const JobId job = Submit(1, 1, 1, 3);
  for (size_t i = 0; i < 3; ++i) {
    EXPECT_FALSE(Failed(job)) << i;
    const std::vector<Lease> leases = DieOf(device(i));
    ASSERT_THAT(leases, SizeIs(1)) << i;
    EXPECT_EQ(leases[0].careful, i > 0);
    EXPECT_EQ(attempts_.at(leases[0].attempt).state, AttemptState::kDied);
  }
  EXPECT_TRUE(Failed(job));
  EXPECT_THAT(JobError(job), HasSubstr("shard 0 failed: 3 devices died while they ran it: ada's "
                                       "(device 1, ada's), bob's (device 2, bob's), cyd's"));
  EXPECT_EQ(shards_.at({job, 0}).tries, 0u) << "no retries are used up";
  size_t told = 0;
  for (const AuditRow& row : audit_) told += row.entry.starts_with(R"({"event":"device died")");
  EXPECT_EQ(told, 3u);
}

// Of a job with votes, nobody else may go on from its state.
TEST_F(DeathTest, TheFirstTimeADeviceGoesOnFromTheStateThatItSaved) {
  job::JobFields fields;
  fields.name = "test";
  fields.command = {"/bin/true"};
  fields.checkpoint = job::Checkpoint{};
  fields.redundancy.replicas = fields.redundancy.quorum = 2;
  const JobId job = Submit(fields, "key");
  const Lease lease = PollFor(device(0), 1).at(0);
  const crypto::Hash state = crypto::Blake3("state");
  Apply(ReportCheckpoint{
      .device = device(0), .attempt = lease.attempt, .lease_token = lease.token, .state = state});
  Report(device(0), {lease});
  now_ms_ += 1'000;
  const std::vector<Lease> again = PollFor(device(0), 1);
  ASSERT_THAT(again, SizeIs(1));
  EXPECT_EQ(again[0].attempt, lease.attempt);
  EXPECT_EQ(again[0].checkpoint, state);
  EXPECT_TRUE(again[0].careful);
  EXPECT_THAT(shards_.at({job, 0}).died_on, ElementsAre(device(0)));
  Report(device(0), {lease});
  EXPECT_EQ(attempts_.at(lease.attempt).state, AttemptState::kDied);
  DieOf(device(1));
  DieOf(device(2));
  EXPECT_TRUE(Failed(job));
}

TEST_F(DeathTest, DeathsAreCountedOverARestart) {
  const JobId job = Submit(1, 1, 1);
  DieOf(device(0));
  Restart();
  DieOf(device(1));
  Restart();
  DieOf(device(2));
  EXPECT_TRUE(Failed(job));
}

TEST_F(DeathTest, OneOwnerAloneStopsNothing) {
  const JobId job = Submit(1, 1, 1);
  std::vector<DeviceId> adas = {device(0)};
  for (int i = 0; i < 5; ++i) adas.push_back(Join("ada"));
  for (const DeviceId id : adas) EXPECT_THAT(DieOf(id), SizeIs(1));
  EXPECT_FALSE(Failed(job));
  EXPECT_THAT(shards_.at({job, 0}).died_on, ElementsAre(device(0)));
}

TEST_F(DeathTest, WhereDevicesCountThreeOfOneOwnerDo) {
  job::JobFields fields;
  fields.name = "test";
  fields.command = {"/bin/true"};
  fields.redundancy.distinct = job::Distinct::kDevice;
  const JobId job = Submit(fields, "key");
  for (const DeviceId id : {device(0), Join("ada"), Join("ada")}) DieOf(id);
  EXPECT_TRUE(Failed(job));
}

TEST_F(DeathTest, AReportThatComesAfterTheLeaseRanOutCountsOnceAndCostsNothingMore) {
  const JobId job = Submit(1, 1, 1);
  const std::vector<Lease> leases = PollFor(device(0), 1);
  now_ms_ += PastTtlMs();
  Apply(Tick{});
  const ReputationRow before = reputations_.at(device(0));
  Report(device(0), leases);
  Report(device(0), leases);
  EXPECT_THAT(shards_.at({job, 0}).died_on, ElementsAre(device(0)));
  EXPECT_EQ(attempts_.at(leases[0].attempt).state, AttemptState::kExpired);
  EXPECT_EQ(reputations_.at(device(0)).bad_micro, before.bad_micro);
  EXPECT_THAT(PollFor(device(1), 1), SizeIs(1)) << "it is open as before";
}

TEST_F(DeathTest, OnlyWhoHasOrHadTheLeaseIsHeard) {
  const JobId job = Submit(2, 1, 1);
  std::vector<Lease> leases = PollFor(device(0), 2);
  Report(device(1), leases);
  leases[0].token = "guess";
  Report(device(0), {leases[0]});
  EXPECT_THAT(shards_.at({job, 0}).died_on, IsEmpty());
  HandIn(leases[1], Result(leases[1], "out"));
  Report(device(0), {leases[1]});
  EXPECT_THAT(shards_.at({job, 1}).died_on, IsEmpty()) << "it had finished that one";
  EXPECT_TRUE(absl::IsUnauthenticated(std::get<absl::Status>(Report(DeviceId{99}, leases).reply)));
}

TEST_F(DeathTest, WhoDiesWithOtherShardsAsWellIsNoWitness) {
  const JobId job = Submit(1, 1, 1, 0, "job");
  Submit(20, 1, 1, 0, "another");
  for (size_t i = 0; i < 4; ++i) {
    const std::vector<Lease> leases = PollFor(device(i), 3);
    ASSERT_THAT(leases, SizeIs(3));
    ASSERT_EQ(leases[0].shard.job, job);
    HandIn(leases[1], Result(leases[1], "out"));
    Report(device(i), {leases[2]});
    Report(device(i), {leases[0]});
    now_ms_ += 1'000;
  }
  EXPECT_THAT(shards_.at({job, 0}).died_on, IsEmpty());
  // What is long ago does not matter.
  now_ms_ += Deaths::kWindowMs;
  for (size_t i = 0; i < 3; ++i) DieOf(device(i));
  EXPECT_TRUE(Failed(job));
}

TEST_F(DeathTest, OfTwoSuspectsADeviceGetsOneAtATime) {
  const JobId job = Submit(2, 1, 1);
  ASSERT_THAT(DieOf(device(0), 2), SizeIs(2));
  const std::vector<Lease> first = PollFor(device(1), 2);
  ASSERT_THAT(first, SizeIs(1)) << "should it die, one shard is to blame";
  Restart();
  EXPECT_THAT(PollFor(device(1), 2, {first[0].attempt}), IsEmpty());
  const std::vector<Lease> second = PollFor(device(2), 2);
  ASSERT_THAT(second, SizeIs(1));
  HandIn(second[0], Result(second[0], "out"));
  HandIn(first[0], Result(first[0], "out"));
  EXPECT_EQ(jobs_.at(job).progress.state, JobState::kDone);
}

TEST_F(DeathTest, WithoutThreeOwnersTheBoundOfLostLeasesHolds) {
  const JobId job = Submit(1, 1, 1);
  uint32_t deaths = 0;
  for (; !Failed(job); ++deaths) {
    now_ms_ += Grid::kMaxFaultPauseMs;
    ASSERT_THAT(DieOf(device(deaths % 2)), SizeIs(1));
    ASSERT_LE(deaths, Grid::kMaxExpired);
  }
  EXPECT_EQ(deaths, Grid::kMaxExpired);
}

}  // namespace
}  // namespace corpgrid::core
