#include "agent/capacity.h"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <optional>
#include <thread>
#include <vector>

namespace corpgrid::agent {
namespace {

bool Never() { return false; }
bool AtOnce() { return true; }

TEST(CapacityTest, GivesWhatIsFreeAndTakesItBack) {
  Capacity capacity({.cpus = 4, .memory_bytes = 100});
  std::optional<Capacity::Share> first(capacity.Take({3, 10}, Never));
  EXPECT_TRUE(*first);
  EXPECT_FALSE(capacity.Take({2, 10}, AtOnce)) << "no processors left";
  EXPECT_FALSE(capacity.Take({1, 91}, AtOnce)) << "no memory left";
  EXPECT_TRUE(capacity.Take({1, 90}, AtOnce));
  first.reset();
  EXPECT_TRUE(capacity.Take({4, 100}, AtOnce));
}

TEST(CapacityTest, MoreThanThereIsRunsAlone) {
  Capacity capacity({.cpus = 2, .memory_bytes = 100});
  {
    const Capacity::Share small = capacity.Take({1, 1}, Never);
    EXPECT_FALSE(capacity.Take({8, 1}, AtOnce));
  }
  const Capacity::Share large = capacity.Take({8, 1000}, Never);
  EXPECT_TRUE(large);
  EXPECT_FALSE(capacity.Take({1, 0}, AtOnce));
}

TEST(CapacityTest, SmallOnesDoNotOvertakeALargeOne) {
  Capacity capacity({.cpus = 2, .memory_bytes = 100});
  std::optional<Capacity::Share> running(capacity.Take({1, 1}, Never));
  std::atomic<bool> large_runs = false;
  std::atomic<bool> asked = false;
  std::thread large([&] {
    const Capacity::Share share = capacity.Take({2, 1}, [&] {
      asked = true;
      return false;
    });
    large_runs = true;
  });
  while (!asked) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  EXPECT_FALSE(capacity.Take({1, 1}, AtOnce)) << "a processor is free, but not for this one";
  EXPECT_FALSE(large_runs);
  running.reset();
  large.join();
  EXPECT_TRUE(large_runs);
  EXPECT_TRUE(capacity.Take({1, 1}, AtOnce));
}

TEST(CapacityTest, NeverGivesMoreThanThereIs) {
  Capacity capacity({.cpus = 3, .memory_bytes = 1000});
  std::atomic<int> in_use = 0;
  std::vector<std::thread> threads;
  for (int i = 0; i < 8; ++i) {
    threads.emplace_back([&, i] {
      for (int n = 0; n < 200; ++n) {
        const int cpus = 1 + (i + n) % 3;
        const Capacity::Share share = capacity.Take({static_cast<uint32_t>(cpus), 1}, Never);
        EXPECT_LE(in_use += cpus, 3);
        in_use -= cpus;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
}

}  // namespace
}  // namespace corpgrid::agent
