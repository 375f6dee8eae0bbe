#include "resources/throttle.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <thread>
#include <vector>

#include "base/testing/manual_clock.h"
#include "resources/limits.h"
#include "resources/resource_manager.h"

namespace corpgrid::resources {
namespace {

using ::testing::HasSubstr;

TEST(LimitsTest, PercentOfIsExactForAllTotals) {
  EXPECT_EQ(PercentOf(UINT64_MAX, 100), UINT64_MAX);
  EXPECT_EQ(PercentOf(UINT64_MAX, 0), 0u);
  EXPECT_EQ(PercentOf(UINT64_MAX, 50), UINT64_MAX / 2);
  EXPECT_EQ(PercentOf(199, 50), 99u);
  EXPECT_EQ(PercentOf(1, 99), 0u);
  for (const uint64_t total : {uint64_t{3}, uint64_t{1} << 40, UINT64_MAX - 7}) {
    for (uint32_t percent = 0; percent <= 100; ++percent) {
      const auto exact = static_cast<unsigned __int128>(total) * percent / 100;
      EXPECT_EQ(PercentOf(total, percent), static_cast<uint64_t>(exact)) << total << " " << percent;
    }
  }
}

TEST(LimitsTest, PresetsLendMoreAndMore) {
  const Limits some = *PresetLimits("conservative"), more = *PresetLimits("balanced"),
               most = *PresetLimits("dedicated");
  EXPECT_LT(some.memory_percent, more.memory_percent);
  EXPECT_LT(more.memory_percent, most.memory_percent);
  EXPECT_GT(some.priority.nice, more.priority.nice);
  EXPECT_GT(more.priority.nice, most.priority.nice);
  EXPECT_GT(some.requests_per_second, 0);
  EXPECT_EQ(most.requests_per_second, 0);
  EXPECT_THAT(std::string(PresetLimits("greedy").status().message()),
              HasSubstr("there are conservative, balanced and dedicated"));
}

TEST(ThrottleTest, SpacesOutWhatAsksAtOnce) {
  testing::ManualClock clock;
  Throttle throttle({.per_second = 4, .load = {}, .clock = &clock});
  for (int64_t i = 0; i < 100; ++i) EXPECT_EQ(throttle.Reserve().wait_us, i * 250'000);
  clock.now_ms += 60'000;
  EXPECT_EQ(throttle.Reserve().wait_us, 0);  // what nobody used is not saved up:
  EXPECT_EQ(throttle.Reserve().wait_us, 250'000);
}

TEST(ThrottleTest, NoTwoThreadsGetTheSameSlot) {
  Throttle throttle({.per_second = 1e5, .load = {}, .clock = &SystemClock()});
  absl::Mutex mutex;
  std::set<int64_t> begins;
  std::vector<std::thread> threads;
  for (int t = 0; t < 8; ++t) {
    threads.emplace_back([&] {
      for (int i = 0; i < 1000; ++i) {
        const Throttle::Slot slot = throttle.Reserve();
        const absl::MutexLock lock(&mutex);
        EXPECT_TRUE(begins.insert(slot.begins_us).second);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
}

TEST(ThrottleTest, AReturnedSlotGoesToTheNextUnlessItIsOver) {
  testing::ManualClock clock;
  Throttle throttle({.per_second = 1, .load = {}, .clock = &clock});
  throttle.Reserve();
  const Throttle::Slot second = throttle.Reserve(), third = throttle.Reserve();
  throttle.GiveBack(third);
  throttle.GiveBack(second);
  EXPECT_EQ(throttle.Reserve().begins_us, second.begins_us);
  EXPECT_EQ(throttle.Reserve().begins_us, third.begins_us);
  const Throttle::Slot fourth = throttle.Reserve();
  EXPECT_EQ(fourth.wait_us, 3'000'000);
  throttle.GiveBack(fourth);
  clock.now_ms += 3001;
  EXPECT_EQ(throttle.Reserve().begins_us,
            fourth.begins_us + 1'000'000);  // the fifth, which nobody had
}

TEST(ThrottleTest, LetsFewerBeginWhileTheDeviceIsBusy) {
  testing::ManualClock clock;
  std::optional<uint32_t> load;
  Throttle throttle(
      {.per_second = 10, .load_percent = 50, .load = [&] { return load; }, .clock = &clock});
  const auto distance_us = [&](std::optional<uint32_t> at) {
    load = at;
    clock.now_ms += 100'000;
    throttle.Reserve();
    return throttle.Reserve().wait_us;
  };
  EXPECT_EQ(distance_us(std::nullopt), 100'000);
  EXPECT_EQ(distance_us(50), 100'000);
  EXPECT_EQ(distance_us(75), 200'000);
  EXPECT_EQ(distance_us(90), 500'000);
  EXPECT_EQ(distance_us(100), 1'000'000);
  EXPECT_EQ(distance_us(250), 1'000'000);  // a driver that lies
}

TEST(ThrottleTest, NoLimitNeverWaits) {
  testing::ManualClock clock;
  Throttle throttle({.per_second = 0, .load = {}, .clock = &clock});
  for (int i = 0; i < 1000; ++i) EXPECT_EQ(throttle.Reserve().wait_us, 0);
}

TEST(CachedLoadTest, AsksFourTimesASecondAtMost) {
  testing::ManualClock clock;
  uint32_t asked = 0;
  CachedLoad load([&]() -> std::optional<uint32_t> { return ++asked; }, &clock);
  for (int i = 0; i < 1000; ++i, ++clock.now_ms) load.Percent();
  EXPECT_EQ(asked, 4u);
  EXPECT_EQ(load.Percent(), 5u);
}

TEST(ResourceManagerTest, CapsWhatAllMayHave) {
  const ResourceManager resources({.limits = *PresetLimits("conservative"),
                                   .memory_bytes = 1000,
                                   .load = {},
                                   .clock = &SystemClock()});
  EXPECT_EQ(resources.memory_bytes(), 400u);
}

TEST(ResourceManagerTest, AShardThatIsCancelledGivesItsTurnBack) {
  ResourceManager resources(
      {.limits = {.requests_per_second = 0.1}, .load = {}, .clock = &SystemClock()});
  const ResourceManager::Request shard{.id = "7"};
  EXPECT_TRUE(resources.Await(shard, [] { return false; }).ok());
  EXPECT_TRUE(absl::IsCancelled(resources.Await(shard, [] { return true; })));
  const Throttle::Slot next = resources.Reserve(shard);
  EXPECT_LE(next.wait_us, 10'000'000);
  resources.NoteRefusal({.kind = ResourceManager::Kind::kModel, .id = "8"});
  const std::string metrics = resources.MetricsText();
  EXPECT_THAT(metrics, HasSubstr("corpgrid_requests_total{kind=\"job\"} 3\n"));
  EXPECT_THAT(metrics, HasSubstr("corpgrid_requests_throttled_total{kind=\"job\"} 2\n"));
  EXPECT_THAT(metrics, HasSubstr("corpgrid_vram_limit_errors_total{kind=\"model\"} 1\n"));
  EXPECT_THAT(metrics, HasSubstr("corpgrid_throttle_wait_seconds_count{kind=\"job\"} 1\n"));
}

}  // namespace
}  // namespace corpgrid::resources
