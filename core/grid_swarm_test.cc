// Random grids with liars, sleepers, lost replies and restarts of the scheduler: whatever happens,
// no shard is decided twice, no lie wins against a quorum of honest owners, and in the end every
// job is done.

#include <map>
#include <random>
#include <set>
#include <string>
#include <vector>

#include "core/test_grid.h"
#include "gtest/gtest.h"

namespace corpgrid::core {
namespace {

class Swarm : public TestGrid {
 public:
  explicit Swarm(uint64_t seed) : random_(seed) {
    for (int i = 0; i < 7; ++i) devices_under_test_.push_back(Join("owner-" + std::to_string(i)));
    liar_ = devices_under_test_[0];
  }

  // Runs faulty for `steps`, then calm until all is done. The digest is of all that was decided.
  crypto::Hash Run(int steps) {
    for (int i = 0; i < 4; ++i)
      Submit(static_cast<uint32_t>(Pick(5) + 1), 2, 2, 3, "job " + std::to_string(i));
    for (int i = 0; i < steps; ++i) {
      Step(/*faults=*/true);
      Check();
    }
    for (int i = 0; i < 100'000 && !AllEnded(); ++i) {
      Step(/*faults=*/false);
      Check();
    }
    EXPECT_TRUE(AllEnded());
    crypto::Hasher digest;
    for (const auto& [id, row] : attempts_) {
      digest.Update(id.ToString() + row.owner + std::to_string(static_cast<int>(row.state)));
    }
    return digest.Finish();
  }

  int decided() const { return static_cast<int>(done_.size()); }

 private:
  size_t Pick(size_t n) { return std::uniform_int_distribution<size_t>(0, n - 1)(random_); }

  static std::string Truth(const ShardId& shard) {
    return "result of " + std::to_string(shard.job.value) + "/" + std::to_string(shard.index);
  }

  void Step(bool faults) {
    now_ms_ += static_cast<int64_t>(Pick(500));
    Apply(Tick{});
    const DeviceId device = devices_under_test_[Pick(devices_under_test_.size())];
    std::map<AttemptId, Lease>& held = held_[device];
    const size_t what = Pick(faults ? 100 : 60);
    if (what < 25) {
      std::vector<AttemptId> ids;
      for (const auto& [id, lease] : held) ids.push_back(id);
      const std::vector<Lease> leases = PollFor(device, static_cast<uint32_t>(Pick(3) + 1), ids);
      const bool lost_reply = faults && Pick(5) == 0;
      for (const Lease& lease : leases) {
        if (!lost_reply) held_[lease.device][lease.attempt] = lease;
      }
    } else if (what < 50) {
      if (held.empty()) return;
      const Lease lease = held.begin()->second;
      const bool lies = device == liar_ && Pick(2) == 0;
      const Verdict verdict = HandIn(
          lease, Result(lease, lies ? "lie" : Truth(lease.shard), lies && Pick(2) == 0 ? 1 : 0));
      if (!faults || Pick(4) != 0)
        held.erase(lease.attempt);  // else: the reply was lost, it tries again
      last_handed_in_ = lease;
    } else if (what < 60) {
      Heartbeat beat{device, Power::kMains, {}};
      for (const auto& [id, lease] : held) beat.attempts.push_back({id, 0.5});
      const Effects effects = Apply(beat);
      for (const Stop& stop : std::get<std::vector<Stop>>(effects.reply)) held.erase(stop.attempt);
    } else if (what < 70) {
      now_ms_ += static_cast<int64_t>(Pick(20'000));  // everyone sleeps
    } else if (what < 75) {
      held.clear();  // the agent was killed
    } else if (what < 80) {
      Restart();
    } else if (what < 90) {
      // Another's finished work, handed in as one's own.
      Apply(SubmitResults{device, {Result(last_handed_in_, "stolen")}});
    } else if (!held.empty()) {
      const Lease lease = held.begin()->second;
      HandedIn fault = Result(lease, "");
      fault.row.result = {.outcome = job::Outcome::kDeviceFault, .exit_code = 0, .outputs = {}};
      if (Pick(10) == 0) HandIn(lease, fault);
    }
  }

  void Check() {
    for (const auto& [id, shard] : shards_) {
      if (shard.state != ShardState::kDone) {
        ASSERT_FALSE(done_.contains(id)) << "a decided shard was opened again";
        continue;
      }
      const auto [it, first] = done_.emplace(id, shard.winner);
      ASSERT_EQ(it->second, shard.winner) << "decided twice";
      if (!first) continue;
      const ResultRow& result = results_.at(shard.winner);
      ASSERT_EQ(result.result.outputs.at(0).hash, crypto::Blake3(Truth(id))) << "a lie won";
      std::set<std::string> owners;
      for (const auto& [attempt, row] : attempts_) {
        if (row.shard == id && row.state == AttemptState::kAgreed) owners.insert(row.owner);
      }
      ASSERT_GE(owners.size(), 2u) << "fewer owners than the quorum";
    }
  }

  bool AllEnded() const {
    for (const auto& [id, job] : jobs_) {
      if (job.progress.finished_wall_ms == 0) return false;
    }
    return true;
  }

  std::mt19937_64 random_;
  std::vector<DeviceId> devices_under_test_;
  DeviceId liar_;
  std::map<DeviceId, std::map<AttemptId, Lease>> held_;
  Lease last_handed_in_;
  std::map<ShardId, AttemptId> done_;
};

TEST(GridSwarmTest, SafeUnderFaultsAndDoneInTheCalm) {
  int decided = 0;
  for (uint64_t seed = 1; seed <= 200; ++seed) {
    SCOPED_TRACE(seed);
    Swarm swarm(seed);
    swarm.Run(300);
    decided += swarm.decided();
    ASSERT_FALSE(::testing::Test::HasFatalFailure());
  }
  EXPECT_GT(decided, 1500);
}

TEST(GridSwarmTest, TheSameSeedGivesTheSameDecisions) {
  for (uint64_t seed = 1; seed <= 10; ++seed) {
    EXPECT_EQ(Swarm(seed).Run(200), Swarm(seed).Run(200)) << seed;
  }
  EXPECT_NE(Swarm(1).Run(200), Swarm(2).Run(200));
}

}  // namespace
}  // namespace corpgrid::core
