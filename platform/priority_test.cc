#include "platform/priority.h"

#include <gtest/gtest.h>

#include <thread>

#include "platform/process.h"

namespace corpgrid::platform {
namespace {

// What a process that this thread starts says of itself: its niceness, then its I/O class.
int ExitStatusOf(const char* script) {
  auto process = Process::Start({.argv = {"/bin/sh", "-c", script}, .env = {"PATH=/usr/bin:/bin"}});
  return process.ok() ? process->Wait(10'000).value_or(-1) >> 8 : -1;
}

TEST(PriorityTest, IsInheritedByWhatTheThreadStarts) {
  std::thread([] {
    ASSERT_TRUE(LowerThisThread({.nice = 7, .io = Priority::Io::kIdle}).ok());
    EXPECT_EQ(ExitStatusOf("exit $(nice)"), 7);
    EXPECT_EQ(ExitStatusOf("ionice | grep -q idle"), 0);
    // Where sessions have shares of their own, so has the new one's.
    EXPECT_EQ(
        ExitStatusOf("[ ! -e /proc/self/autogroup ] || grep -q 'nice 7$' /proc/self/autogroup"), 0);
  }).join();
  EXPECT_EQ(ExitStatusOf("exit $(nice)"), ExitStatusOf("exit $(nice -n 0 nice)"));  // not here
}

TEST(PriorityTest, NeverRaises) {
  std::thread([] {
    ASSERT_TRUE(LowerThisThread({.nice = 12, .io = Priority::Io::kIdle}).ok());
    ASSERT_TRUE(LowerThisThread({.nice = 3, .io = Priority::Io::kLow}).ok());
    EXPECT_EQ(ExitStatusOf("exit $(nice)"), 12);
    EXPECT_EQ(ExitStatusOf("ionice | grep -q idle"), 0);
  }).join();
}

}  // namespace
}  // namespace corpgrid::platform
