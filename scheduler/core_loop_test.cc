#include "scheduler/core_loop.h"

#include <future>
#include <string>
#include <thread>
#include <vector>

#include "base/status_macros.h"
#include "core/test_rows.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace corpgrid::scheduler {
namespace {

// A store in memory whose commits can fail before or after they land.
class FaultyStore : public store::Store {
 public:
  absl::StatusOr<core::Snapshot> Load() override {
    ++loads;
    RETURN_IF_ERROR(Standing());
    if (fail_load) return absl::UnavailableError("the disk is away");
    return rows.ToSnapshot();
  }
  absl::Status Commit(const core::WriteBatch& batch) override {
    ++commits;
    RETURN_IF_ERROR(Standing());
    if (fail_before) return absl::ResourceExhaustedError("disk full");
    rows.Keep(batch);
    if (fail_after) return absl::UnavailableError("connection lost");
    return absl::OkStatus();
  }
  absl::StatusOr<std::vector<core::JobRow>> Jobs(JobId, size_t) const override { return Unused(); }
  absl::StatusOr<core::JobRow> Job(JobId) const override { return Unused(); }
  absl::StatusOr<std::vector<core::ShardRow>> Shards(JobId, uint32_t, size_t) const override {
    return Unused();
  }
  absl::StatusOr<std::vector<store::AttemptRecord>> Attempts(JobId, uint32_t,
                                                             uint32_t) const override {
    return Unused();
  }
  absl::StatusOr<store::AttemptRecord> Attempt(AttemptId) const override { return Unused(); }
  absl::StatusOr<std::vector<core::AuditRow>> AuditLog(uint64_t, size_t) const override {
    return Unused();
  }

  absl::Status Standing() const override {
    if (lapsed) return absl::UnavailableError("who leads is not known");
    return deposed ? absl::AbortedError("another scheduler leads") : absl::OkStatus();
  }

  core::TestRows rows;
  std::atomic<bool> deposed = false;
  std::atomic<bool> lapsed = false;
  std::atomic<bool> fail_before = false;
  std::atomic<bool> fail_after = false;
  std::atomic<bool> fail_load = false;
  std::atomic<int> commits = 0;
  std::atomic<int> loads = 0;

 private:
  static absl::Status Unused() { return absl::InternalError("the loop reads nothing"); }
};

class CountingListener : public EffectsListener {
 public:
  void OnCommitted(core::Effects&) override { ++committed; }
  void OnReloaded(const core::Grid&) override { ++reloaded; }
  void OnDeposed(const absl::Status&) override { ++deposed; }
  void OnTick() override { ++ticks; }

  std::atomic<int> committed = 0;
  std::atomic<int> reloaded = 0;
  std::atomic<int> deposed = 0;
  std::atomic<int> ticks = 0;
};

class CoreLoopTest : public ::testing::Test {
 protected:
  CoreLoopTest() {
    store_.rows.meta_.grid_id = "grid";
    loop_ = CoreLoop::Load({}, &store_, &SystemClock(), &listener_).value();
    loop_->Start();
  }

  static core::CreateJoinToken Token(const std::string& key) {
    return {{.secret_hash = crypto::Blake3(key),
             .owner = "ann",
             .uses_left = 1,
             .idempotency_key = key}};
  }

  FaultyStore store_;
  CountingListener listener_;
  std::unique_ptr<CoreLoop> loop_;
};

TEST_F(CoreLoopTest, AnAcknowledgedChangeIsInTheStore) {
  ASSERT_TRUE(loop_->CallStatus(Token("a")).ok());
  EXPECT_EQ(store_.rows.tokens_.size(), 1u);
  EXPECT_EQ(store_.rows.meta_.batch, 1u);
}

TEST_F(CoreLoopTest, CallsThatWaitTogetherShareACommit) {
  constexpr int kCalls = 500;
  std::atomic<int> done = 0;
  std::promise<void> all;
  for (int i = 0; i < kCalls; ++i) {
    loop_->Submit(Token(std::to_string(i)), [&](const core::Reply&) {
      if (++done == kCalls) all.set_value();
    });
  }
  all.get_future().wait();
  EXPECT_EQ(store_.rows.tokens_.size(), static_cast<size_t>(kCalls));
  EXPECT_LT(store_.commits, kCalls / 2);
}

TEST_F(CoreLoopTest, WhatIsInNoHasteIsDoneAllTheSame) {
  for (int i = 0; i < 3; ++i) {
    std::promise<void> done;
    loop_->Submit(
        Token(std::to_string(i)), [&](const core::Reply&) { done.set_value(); },
        CoreLoop::Haste::kSoon);
    done.get_future().wait();
    EXPECT_EQ(store_.rows.tokens_.size(), static_cast<size_t>(i) + 1);
  }
}

TEST_F(CoreLoopTest, ReadsCommitNothing) {
  ASSERT_TRUE(loop_->Call<std::vector<core::DeviceView>>(core::ViewDevices{}).ok());
  EXPECT_EQ(store_.commits, 0);
}

TEST_F(CoreLoopTest, AFailedCommitIsAnErrorAndLeavesNoTraceInMemory) {
  store_.fail_before = true;
  const absl::Status failed = loop_->CallStatus(Token("a"));
  EXPECT_TRUE(absl::IsResourceExhausted(failed)) << failed.ToString();
  EXPECT_EQ(listener_.reloaded, 2);  // once at the start
  store_.fail_before = false;
  core::RegisterDevice with_lost_token;
  with_lost_token.device.public_key = "key";
  with_lost_token.join_secret_hash = crypto::Blake3("a");
  EXPECT_FALSE(loop_->Call<core::Registered>(with_lost_token).ok())
      << "memory kept what the store never had";
  EXPECT_TRUE(loop_->CallStatus(Token("a")).ok()) << "and the next try works";
}

TEST_F(CoreLoopTest, ACommitThatLandedInSpiteOfItsErrorIsAcknowledged) {
  store_.fail_after = true;
  EXPECT_TRUE(loop_->CallStatus(Token("a")).ok());
  store_.fail_after = false;
  EXPECT_TRUE(loop_->CallStatus(Token("b")).ok());
  EXPECT_EQ(store_.rows.tokens_.size(), 2u);
  EXPECT_EQ(store_.rows.meta_.batch, 2u);
}

TEST_F(CoreLoopTest, WhoWaitsForAStoreThatIsAwayMayGiveUp) {
  store_.fail_before = store_.fail_load = true;
  loop_->Submit(Token("a"), [](const core::Reply&) {});
  const absl::Status status = loop_->CallFor<core::LogView>(20, core::ViewLog{}).status();
  EXPECT_THAT(std::string(status.message()), ::testing::HasSubstr("does not answer"));
  store_.fail_before = store_.fail_load = false;
  EXPECT_TRUE(loop_->CallStatus(Token("b")).ok());
  EXPECT_TRUE(loop_->CallFor<core::LogView>(20'000, core::ViewLog{}).ok());
}

TEST_F(CoreLoopTest, ADeposedLoopAppliesNothingMoreAndSaysSoOnce) {
  ASSERT_TRUE(loop_->CallStatus(Token("a")).ok());
  store_.deposed = true;
  EXPECT_TRUE(absl::IsAborted(loop_->CallStatus(Token("b"))));
  const auto devices = loop_->Call<std::vector<core::DeviceView>>(core::ViewDevices{});
  EXPECT_TRUE(absl::IsAborted(devices.status())) << "what it knows may be old";
  EXPECT_EQ(listener_.deposed, 1);
  EXPECT_EQ(store_.rows.tokens_.size(), 1u);
}

TEST_F(CoreLoopTest, NothingIsAnsweredWhileItIsNotKnownWhoLeads) {
  ASSERT_TRUE(loop_->CallStatus(Token("a")).ok());
  store_.lapsed = true;
  const auto devices = [&] {
    return loop_->Call<std::vector<core::DeviceView>>(core::ViewDevices{}).status();
  };
  EXPECT_TRUE(absl::IsUnavailable(devices())) << "it writes nothing, so that no commit is refused";
  EXPECT_TRUE(absl::IsUnavailable(loop_->CallStatus(Token("b"))));
  store_.lapsed = false;
  EXPECT_TRUE(devices().ok());
  EXPECT_EQ(store_.rows.tokens_.size(), 1u);
  EXPECT_EQ(listener_.deposed, 0);
}

TEST_F(CoreLoopTest, AnIdleLoopHearsThatItIsDeposed) {
  store_.deposed = true;
  for (int i = 0; i < 200 && listener_.deposed == 0; ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(CoreLoop::kTickMs));
  }
  EXPECT_EQ(listener_.deposed, 1);
}

class MovedClock final : public Clock {
 public:
  int64_t MonotonicMs() const override { return now_ms; }
  int64_t WallMs() const override { return now_ms; }
  std::atomic<int64_t> now_ms = 1000;
};

TEST_F(CoreLoopTest, ASchedulerThatStoodStillEndsNobodysLease) {
  MovedClock clock;
  FaultyStore store;
  CountingListener listener;
  auto loop = CoreLoop::Load({}, &store, &clock, &listener).value();
  loop->Start();
  const auto pass = [&](int64_t ms) {
    clock.now_ms += ms;
    for (const int ticks = listener.ticks; listener.ticks < ticks + 2;) {
      clock.now_ms += CoreLoop::kTickMs;
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
  };
  ASSERT_TRUE(loop->CallStatus(Token("a")).ok());
  core::RegisterDevice join;
  join.device.public_key = "key";
  join.device.cpus = 4;
  join.device.memory_bytes = 8ull << 30;
  join.device.backends = 1;
  join.join_secret_hash = crypto::Blake3("a");
  const DeviceId device = loop->Call<core::Registered>(join)->device;
  job::JobFields fields;
  fields.name = "test";
  fields.command = {"/bin/true"};
  core::SubmitJob submit{.idempotency_key = "job",
                         .spec = *job::JobSpec::Make(fields),
                         .spec_hash = {},
                         .bundle_hash = {},
                         .bundle_bytes = 0,
                         .submitter_key = "",
                         .signature = ""};
  ASSERT_TRUE(loop->Call<core::Submitted>(submit).ok());
  ASSERT_TRUE(loop->CallStatus(core::Poll{device, 1, core::Power::kMains, {}}).ok());
  const auto leases = [&] {
    return loop->Call<std::vector<core::DeviceView>>(core::ViewDevices{})->at(0).leases;
  };
  ASSERT_EQ(leases(), 1u);
  pass(3'600'000);
  EXPECT_EQ(leases(), 1u);
  for (int i = 0; i < 12; ++i) pass(CoreLoop::kStallMs * 9 / 10);
  EXPECT_EQ(leases(), 0u) << "who is silent while the scheduler listens loses it";
}

TEST_F(CoreLoopTest, CallsAfterTheEndAreAnswered) {
  std::promise<core::Reply> answered;
  loop_.reset();
  FaultyStore store;
  auto loop = CoreLoop::Load({}, &store, &SystemClock(), &listener_).value();
  loop->Start();
  for (int i = 0; i < 100; ++i) {
    loop->Submit(Token(std::to_string(i)), [&, i](core::Reply reply) {
      if (i == 99) answered.set_value(std::move(reply));
    });
  }
  loop.reset();
  EXPECT_TRUE(std::get<absl::Status>(answered.get_future().get()).ok())
      << "what was taken in is finished";
}

}  // namespace
}  // namespace corpgrid::scheduler
