// Who gets what: scores, filters, replicas by reputation.

#include <algorithm>
#include <cstdio>
#include <random>
#include <set>
#include <string>
#include <vector>

#include "core/test_grid.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace corpgrid::core {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::SizeIs;

class GridPlacementTest : public ::testing::Test, protected TestGrid {
 protected:
  // A device of `owner` that waits for a shard.
  DeviceId JoinWaiting(const std::string& owner, uint64_t memory_bytes = 8ull << 30,
                       const std::string& site = "") {
    const DeviceId id = Join(owner);
    RegisterDevice c;
    c.device = devices_.at(id);
    c.device.memory_bytes = memory_bytes;
    c.device.site = site;
    Apply(c);
    EXPECT_THAT(PollFor(id, 1), IsEmpty());
    return id;
  }

  void Earn(DeviceId device, int good, int mismatches = 0) {
    ReputationRow& row = reputations_[device];
    row.device = device;
    for (int i = 0; i < good; ++i) Reward(&row, now_ms_);
    for (int i = 0; i < mismatches; ++i) Penalise(&row, Fault::kMismatch, now_ms_);
  }

  // Every device waits anew, as after a restart of the scheduler.
  void RestartAndPoll() {
    Restart();
    for (const auto& [id, row] : devices_) EXPECT_THAT(PollFor(id, 1), IsEmpty());
  }

  // Submits a job of one shard; who got its replicas, in order.
  std::vector<DeviceId> Placed(uint32_t replicas, uint64_t memory_bytes = 1ull << 30) {
    job::JobFields fields;
    fields.name = "test";
    fields.command = {"/bin/true"};
    fields.shards = 1;
    fields.redundancy.replicas = replicas;
    fields.redundancy.quorum = replicas;
    fields.resources.memory_bytes = memory_bytes;
    Submit(fields, "job " + std::to_string(commands_));
    std::vector<DeviceId> devices;
    for (const auto& [id, row] : attempts_) devices.push_back(row.device);
    return devices;
  }
};

TEST_F(GridPlacementTest, TheMostTrustedOfThoseThatWaitGetsTheShard) {
  Earn(JoinWaiting("ann"), 3);
  const DeviceId bob = JoinWaiting("bob");
  Earn(bob, 200);
  Earn(JoinWaiting("cat"), 20, 2);
  RestartAndPoll();
  EXPECT_THAT(Placed(1), ElementsAre(bob));
}

TEST_F(GridPlacementTest, ATightFitKeepsTheLargeDeviceFree) {
  JoinWaiting("ann", 64ull << 30);
  const DeviceId bob = JoinWaiting("bob", 4ull << 30);
  JoinWaiting("cat", 16ull << 30);
  EXPECT_THAT(Placed(1, 3ull << 30), ElementsAre(bob));
}

TEST_F(GridPlacementTest, ReplicasGoToDifferentSites) {
  const DeviceId ann = JoinWaiting("ann", 8ull << 30, "north");
  JoinWaiting("bob", 8ull << 30, "north");
  const DeviceId cat = JoinWaiting("cat", 8ull << 30, "south");
  EXPECT_THAT(Placed(2), ElementsAre(ann, cat));
}

TEST_F(GridPlacementTest, WhoPollsTakesTheReplicaThatLeavesItFurthestFromTheOthers) {
  const DeviceId ann = Join("ann"), bob = Join("bob"), cat = Join("cat");
  for (const auto& [id, site] : {std::pair(ann, "north"), {bob, "south"}, {cat, "south"}}) {
    RegisterDevice c;
    c.device = devices_.at(id);
    c.device.site = site;
    Apply(c);
  }
  Submit(2, 2, 2);
  const ShardId of_ann = PollFor(ann, 1).at(0).shard;
  // Its open shard first, then a fresh one.
  EXPECT_EQ(PollFor(bob, 1).at(0).shard, of_ann);
  const ShardId of_bob = PollFor(bob, 1, {AttemptId{2}}).at(0).shard;
  EXPECT_NE(of_bob, of_ann);
  EXPECT_EQ(PollFor(cat, 1).at(0).shard, of_bob) << "the only one left";
}

TEST_F(GridPlacementTest, ThoseThatWaitShareWhatComes) {
  std::vector<DeviceId> devices;
  for (const char* owner : {"ann", "bob", "cat"}) {
    devices.push_back(Join(owner));
    EXPECT_THAT(PollFor(devices.back(), 8), IsEmpty());
  }
  Submit(3, 1, 1);
  std::vector<DeviceId> got;
  for (const auto& [id, row] : attempts_) got.push_back(row.device);
  EXPECT_THAT(got, ::testing::UnorderedElementsAreArray(devices));
}

TEST_F(GridPlacementTest, AJobThatNobodyFitsHoldsNoOtherUp) {
  job::JobFields fields;
  fields.name = "huge";
  fields.command = {"/bin/true"};
  fields.resources.cpus = 1000;
  for (int i = 0; i < 50; ++i) Submit(fields, "huge " + std::to_string(i));
  const JobId job = Submit(1, 1, 1);
  EXPECT_EQ(PollFor(Join("ann"), 1).at(0).shard.job, job);
}

// More jobs than are looked at for one poll wait for another owner. The next poll goes on behind
// them.
TEST_F(GridPlacementTest, ManyJobsThatAnOwnerMayNotTakeHoldItUpForOnePollOnly) {
  const DeviceId ann = Join("ann");
  for (size_t i = 0; i < Grid::kMaxScanned; ++i) {
    Submit(1, 2, 2, 0, "two " + std::to_string(i));
    const Lease lease = PollFor(ann, 1).at(0);
    HandIn(lease, Result(lease, "x"));
  }
  const JobId job = Submit(1, 1, 1);
  EXPECT_THAT(PollFor(ann, 1), IsEmpty());
  const std::vector<Lease> leases = PollFor(ann, 1);
  ASSERT_THAT(leases, SizeIs(1));
  EXPECT_EQ(leases[0].shard.job, job);
}

TEST_F(GridPlacementTest, ADeviceOnMainsAgainGetsWhatWaits) {
  const DeviceId ann = Join("ann");
  Apply(Poll{.device = ann, .max_shards = 1, .condition = Power::kBattery, .held = {}});
  Submit(1, 1, 1);
  EXPECT_THAT(attempts_, IsEmpty());
  EXPECT_THAT(Apply(Heartbeat{ann, Power::kMains, {}}).leases, SizeIs(1));
}

class ReplicasTest : public GridPlacementTest {
 protected:
  ReplicasTest() { config_.extra_replicas = true; }

  // Replicas that a shard wants whose job asks for `replicas`, once it runs on a device of this
  // past.
  uint32_t Wanted(uint32_t replicas, uint32_t quorum, int good, int mismatches = 0) {
    const std::string owner = "owner " + std::to_string(commands_);
    const DeviceId device = Join(owner);
    Earn(device, good, mismatches);
    Restart();
    const JobId job = Submit(1, replicas, quorum, 0, owner);
    PollFor(device, 1);
    Apply(CancelJob{job});
    return shards_.rbegin()->second.replicas;
  }
};

TEST_F(ReplicasTest, FollowTheTier) {
  EXPECT_EQ(Wanted(3, 2, 0), 5u) << "unproven";
  EXPECT_EQ(Wanted(3, 2, 1, 4), 5u) << "bad";
  EXPECT_EQ(Wanted(3, 2, 4, 1), 5u) << "poor";
  EXPECT_EQ(Wanted(3, 2, 3), 4u) << "fair";
  EXPECT_EQ(Wanted(3, 2, 5), 3u) << "good";
  EXPECT_EQ(Wanted(3, 2, 100), 2u) << "excellent";
  EXPECT_EQ(Wanted(2, 2, 100), 2u) << "never below the quorum";
  EXPECT_EQ(Wanted(1, 1, 0), 1u) << "nobody checks it";
}

TEST_F(ReplicasTest, OneOfPoorStandingBringsMore) {
  const DeviceId ann = Join("ann"), bob = Join("bob");
  Earn(ann, 100);
  Restart();
  Submit(1, 2, 2);
  PollFor(ann, 1);
  EXPECT_EQ(shards_.begin()->second.replicas, 2u);
  PollFor(bob, 1);
  EXPECT_EQ(shards_.begin()->second.replicas, 4u);
}

class BlameTest : public GridPlacementTest {
 protected:
  double Bad(DeviceId device) const {
    const auto it = reputations_.find(device);
    return it == reputations_.end() ? 0 : static_cast<double>(it->second.bad_micro) / 1e6;
  }
  double Good(DeviceId device) const {
    const auto it = reputations_.find(device);
    return it == reputations_.end() ? 0 : static_cast<double>(it->second.good_micro) / 1e6;
  }
};

TEST_F(BlameTest, AgreementCountsOnlyWhereSomebodyChecked) {
  const DeviceId ann = Join("ann"), bob = Join("bob"), eve = Join("eve");
  Submit(1, 1, 1, 0, "alone");
  const Lease alone = PollFor(ann, 1).at(0);
  HandIn(alone, Result(alone, "x"));
  EXPECT_EQ(Good(ann), 0);
  Submit(1, 3, 2, 0, "checked");
  for (const auto& [device, bytes] : {std::pair(eve, "y"), {ann, "x"}, {bob, "x"}}) {
    const Lease lease = PollFor(device, 1).at(0);
    HandIn(lease, Result(lease, bytes));
  }
  EXPECT_EQ(Good(ann), 1);
  EXPECT_EQ(Good(bob), 1);
  EXPECT_EQ(Bad(eve), 3) << "a mismatch";
}

TEST_F(BlameTest, ALeaseThatRunsOutWeighsByItsCause) {
  const DeviceId silent = Join("ann"), slow = Join("bob");
  Submit(2, 1, 1);
  PollFor(silent, 1);
  const Lease lease = PollFor(slow, 1).at(0);
  const int64_t end_ms = now_ms_ + job::Limits().wall_ms + Grid::kMaxQueuedMs;
  while (now_ms_ < end_ms) {
    now_ms_ += GridConfig().heartbeat_ms;
    Apply(Heartbeat{slow, Power::kMains, {{lease.attempt, 0.5}}});
    Apply(Tick{});
  }
  EXPECT_NEAR(Bad(silent), 1.5, 0.01) << "no heartbeat";
  EXPECT_NEAR(Bad(slow), 2.0, 0.01) << "heard, but never done";
}

TEST_F(BlameTest, ACrashIsTheDevicesOnlyOnceAnotherShowsThatTheShardRuns) {
  const DeviceId ann = Join("ann"), bob = Join("bob");
  Submit(1, 1, 1);
  const Lease lease = PollFor(ann, 1).at(0);
  HandedIn fault = Result(lease, "");
  fault.row.result.outcome = job::Outcome::kDeviceFault;
  HandIn(lease, fault);
  EXPECT_EQ(Bad(ann), 0);
  const Lease again = PollFor(bob, 1).at(0);
  HandIn(again, Result(again, "x"));
  EXPECT_EQ(Bad(ann), 2.5);
}

TEST_F(BlameTest, WhoRunsInTheEndWhatItGaveUpIsNotBlamed) {
  const DeviceId ann = Join("ann");
  Submit(1, 1, 1);
  const Lease lease = PollFor(ann, 1).at(0);
  HandedIn fault = Result(lease, "");
  fault.row.result.outcome = job::Outcome::kDeviceFault;
  HandIn(lease, fault);
  now_ms_ += Grid::kFaultPauseMs;
  const Lease again = PollFor(ann, 1).at(0);
  HandIn(again, Result(again, "x"));
  EXPECT_EQ(Bad(ann), 0) << "nobody else showed that the shard runs";
}

TEST_F(BlameTest, AForgedSignatureWeighsMost) {
  const DeviceId ann = Join("ann");
  Submit(1, 1, 1);
  const Lease lease = PollFor(ann, 1).at(0);
  HandedIn in = Result(lease, "x");
  in.proof = Proof::kBadSignature;
  HandIn(lease, in);
  EXPECT_EQ(Bad(ann), 5);
}

class RegretTest : public GridPlacementTest {
 protected:
  static constexpr int kDevices = 500;

  uint64_t Below(uint64_t n) { return random_() % n; }

  // A new grid whose devices have a random past and random parts, all waiting.
  void NewGrid() {
    static_cast<TestRows&>(*this) = {};
    grid_.reset();
    meta_.next_device = kDevices + 1;
    waiting_.clear();
    for (uint64_t i = 1; i <= kDevices; ++i) {
      DeviceRow& row = devices_[DeviceId{i}];
      row.id = DeviceId{i};
      row.public_key = std::to_string(i);
      row.owner = "owner " + std::to_string(Below(kDevices / 5));
      row.site = "site " + std::to_string(Below(5));
      row.version = "1." + std::to_string(Below(3));
      row.cpus = 1 << Below(6);
      row.memory_bytes = (1 + Below(64)) << 30;
      row.vram_bytes = Below(2) * (4 + Below(45)) << 30;
      row.backends = row.vram_bytes > 0 ? 3 : 1;
      Earn(row.id, static_cast<int>(Below(100)), static_cast<int>(Below(3)));
      waiting_.insert(row.id);
    }
    RestartAndPoll();
  }

  job::JobFields RandomJob() {
    job::JobFields fields;
    fields.name = "test";
    fields.command = {"/bin/true"};
    fields.redundancy.replicas = fields.redundancy.quorum = 1 + Below(3);
    fields.resources.cpus = 1 << Below(3);
    fields.resources.memory_bytes = (1 + Below(16)) << 30;
    if (Below(2) == 0) {
      fields.resources.vram_bytes = (1 + Below(8)) << 30;
      fields.resources.backends = {static_cast<job::Backend>(1)};
    }
    return fields;
  }

  double ScoreOf(DeviceId id, const Requirements& want) const {
    const DeviceRow& row = devices_.at(id);
    Standing standing;
    standing.reputation = LowerBoundOf(reputations_.at(id), now_ms_);
    double diversity = 1;
    for (const DeviceId other : chosen_) {
      diversity = std::min(diversity, Unlikeness(devices_.at(other), row));
    }
    const Weights weights;
    return standing.Score(weights) + weights.fit * Fit(want, row) + weights.diversity * diversity;
  }

  bool MayTake(DeviceId id, const Requirements& want) const {
    const auto same_owner = [&](DeviceId other) {
      return devices_.at(other).owner == devices_.at(id).owner;
    };
    return Fits(want, devices_.at(id)) && std::none_of(chosen_.begin(), chosen_.end(), same_owner);
  }

  // What the grid lost by its choice, as a share of the best score.
  double RegretOf(DeviceId choice, const Requirements& want) const {
    double best = 0;
    for (const DeviceId id : waiting_) {
      if (MayTake(id, want)) best = std::max(best, ScoreOf(id, want));
    }
    return (best - ScoreOf(choice, want)) / best;
  }

  std::mt19937_64 random_{1};
  std::set<DeviceId> waiting_;
  std::vector<DeviceId> chosen_;  // for the shard at hand
};

// Each choice among those that wait is compared with the best of them all.
TEST_F(RegretTest, ChoicesAreAsGoodAsAFullScanWithinOnePercent) {
  double regret = 0, worst = 0;
  int choices = 0, missed = 0;
  for (int grid = 0; grid < 20; ++grid) {
    NewGrid();
    for (int shard = 0; shard < 50; ++shard) {
      const job::JobFields job = RandomJob();
      const Requirements want = Requirements::Of(*job::JobSpec::Make(job));
      const AttemptId before = attempts_.empty() ? AttemptId() : attempts_.rbegin()->first;
      Submit(job, std::to_string(commands_));
      chosen_.clear();
      for (auto it = attempts_.upper_bound(before); it != attempts_.end(); ++it) {
        const DeviceId choice = it->second.device;
        const double lost = RegretOf(choice, want);
        ASSERT_GE(lost, -1e-9);
        regret += lost;
        worst = std::max(worst, lost);
        missed += lost > 1e-9 ? 1 : 0;
        ++choices;
        chosen_.push_back(choice);
        waiting_.erase(choice);
      }
    }
  }
  std::printf("regret %.4f %% on average, %.2f %% at worst, %d of %d choices not the best\n",
              regret / choices * 100, worst * 100, missed, choices);
  EXPECT_GT(choices, 1000);
  EXPECT_LE(regret / choices, 0.01);
}

}  // namespace
}  // namespace corpgrid::core
