#include "cli/supervisor.h"

#include <signal.h>
#include <unistd.h>

#include <filesystem>
#include <thread>

#include "base/testing/manual_clock.h"
#include "cli/data_folder.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace corpgrid::cli {
namespace {

class SupervisorTest : public ::testing::Test {
 protected:
  SupervisorTest() {
    std::string folder = ::testing::TempDir() + "/supervisor-XXXXXX";
    folder_ = mkdtemp(folder.data());
  }
  ~SupervisorTest() override { std::filesystem::remove_all(folder_); }

  Supervised::Options Shell(const std::string& script) {
    return {.name = "sh",
            .argv = {"/bin/sh", "-c", script},
            .env = {"GREETING=hello"},
            .log_path = folder_ + "/log"};
  }
  // Tends until it ended `ends` times, moving the clock by each pause; returns the pauses.
  std::vector<int64_t> Pauses(Supervised& child, size_t ends) {
    std::vector<int64_t> pauses;
    while (pauses.size() < ends && child.WaitEnded(20'000)) {
      child.Tend([&](const std::string& how, int64_t pause_ms) {
        how_ = how;
        pauses.push_back(pause_ms);
        clock_.now_ms += pause_ms;
      });
    }
    return pauses;
  }

  std::string folder_;
  testing::ManualClock clock_;
  std::string how_;
};

TEST_F(SupervisorTest, StartsAgainWithGrowingPauses) {
  Supervised child(Shell("exit 3"), clock_);
  ASSERT_TRUE(child.Start().ok());
  EXPECT_THAT(Pauses(child, 8),
              ::testing::ElementsAre(200, 400, 800, 1600, 3200, 6400, 10'000, 10'000));
  EXPECT_EQ(how_, "ended with status 3");
}

TEST_F(SupervisorTest, WhatRanWellIsStartedAgainSoon) {
  Supervised child(Shell("exit 3"), clock_);
  ASSERT_TRUE(child.Start().ok());
  Pauses(child, 5);
  clock_.now_ms += 10'000;
  child.Tend([](const std::string&, int64_t) {});  // started again
  clock_.now_ms += 40'000;
  EXPECT_THAT(Pauses(child, 1), ::testing::ElementsAre(200));
}

TEST_F(SupervisorTest, TellsWhatItLoggedSinceTheLastStart) {
  Supervised first(Shell("echo old"), clock_);
  ASSERT_TRUE(first.Start().ok());
  ASSERT_TRUE(first.WaitEnded(5000));
  Supervised second(Shell("echo $GREETING; echo error >&2"), clock_);
  ASSERT_TRUE(second.Start().ok());
  ASSERT_TRUE(second.WaitEnded(5000));
  EXPECT_EQ(second.LogSinceStart(), "hello\nerror\n");
  EXPECT_EQ(*second.EndedHow(), "ended with status 0");
}

TEST_F(SupervisorTest, KillEndsItsWholeGroup) {
  Supervised child(Shell("sleep 1000 & echo $!; wait"), clock_);
  ASSERT_TRUE(child.Start().ok());
  std::string log;
  for (int i = 0; i < 500 && log.empty(); ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
    log = child.LogSinceStart();
  }
  const pid_t grandchild = std::stoi(log);
  ASSERT_EQ(kill(grandchild, 0), 0);
  child.Kill();
  bool gone = false;
  for (int i = 0; i < 500 && !gone; ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
    // A zombie that init has not reaped yet is as good as gone.
    std::error_code error;
    gone = std::filesystem::read_symlink("/proc/" + std::to_string(grandchild) + "/exe", error)
               .empty();
  }
  EXPECT_TRUE(gone);
  EXPECT_FALSE(child.running());
}

TEST_F(SupervisorTest, OneUpAFolder) {
  EXPECT_EQ(UpPid(folder_), 0);
  {
    const auto lock = UpLock::Take(folder_);
    ASSERT_TRUE(lock.ok());
    EXPECT_EQ(UpPid(folder_), getpid());
    const auto second = UpLock::Take(folder_);
    EXPECT_TRUE(absl::IsAlreadyExists(second.status()));
    EXPECT_THAT(std::string(second.status().message()),
                ::testing::HasSubstr("process " + std::to_string(getpid())));
    EXPECT_EQ(UpPid(folder_), getpid()) << "asking does not let go of it";
  }
  EXPECT_EQ(UpPid(folder_), 0);
}

}  // namespace
}  // namespace corpgrid::cli
