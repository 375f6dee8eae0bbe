// Signing by itself, with a tree in memory: what becomes of a store that is away or was changed.

#include <atomic>
#include <chrono>
#include <fstream>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

#include "audit/test_tree.h"
#include "base/testing/temp_folder.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "scheduler/audit_log.h"

namespace corpgrid::scheduler {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr uint64_t kNone = ~uint64_t{0};

class SetClock final : public Clock {
 public:
  int64_t MonotonicMs() const override { return now_ms; }
  int64_t WallMs() const override { return 0; }
  std::atomic<int64_t> now_ms = 5000;
};

class AuditSigningTest : public ::testing::Test {
 protected:
  AuditSigningTest() { Log(5); }

  void Log(int count) {
    absl::MutexLock lock(&mutex_);
    for (int i = 0; i < count; ++i) tree_.Append(fmt::format("entry {}", tree_.leaves.size()));
  }
  absl::StatusOr<core::LogView> View() {
    absl::MutexLock lock(&mutex_);
    ++views_;
    const core::LogView view{.size = tree_.leaves.size(), .root = tree_.roots.back()};
    mutex_.Await(absl::Condition(&open_));
    return view;
  }
  absl::StatusOr<std::vector<core::AuditRow>> Read(uint64_t first) {
    absl::MutexLock lock(&mutex_);
    if (away_.exchange(false)) return absl::UnavailableError("the database is away");
    if (first == missing_ || first >= tree_.leaves.size()) return std::vector<core::AuditRow>{};
    core::AuditRow row{.index = first, .entry = "", .nodes = ""};
    for (const audit::TreeHash& hash : tree_.nodes[first]) row.nodes += hash.Raw();
    return std::vector{row};
  }
  std::unique_ptr<AuditLog> Open() {
    return *AuditLog::Open({.folder = folder_.path(),
                            .grid_id = "0123",
                            .view = [this] { return View(); },
                            .read = [this](uint64_t first, size_t) { return Read(first); },
                            .clock = &clock_});
  }
  // Of the checkpoint that is on disk.
  uint64_t KeptSize() const {
    std::stringstream text;
    text << std::ifstream(folder_ / "audit.checkpoint").rdbuf();
    const auto kept = audit::SignedCheckpoint::Parse(text.str());
    return kept.ok() ? kept->checkpoint.size : 0;
  }
  bool AwaitKept(uint64_t size) const {
    for (int i = 0; i < 2000 && KeptSize() != size; ++i) {
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
    return KeptSize() == size;
  }
  int Views() {
    absl::MutexLock lock(&mutex_);
    return views_;
  }

  const corpgrid::testing::TempFolder folder_;
  absl::Mutex mutex_;
  audit::TestTree tree_;
  bool open_ = true;  // else a view waits
  int views_ = 0;     // that were begun
  SetClock clock_;
  std::atomic<bool> away_ = false;  // at the next read
  uint64_t missing_ = kNone;
  std::unique_ptr<AuditLog> log_ = Open();
};

TEST_F(AuditSigningTest, AStoreThatIsAwayIsNoTrouble) {
  ASSERT_TRUE(log_->Sign().ok());
  Log(7);
  away_ = true;
  EXPECT_TRUE(absl::IsUnavailable(log_->Sign().status()))
      << "when it looks whether the log goes on";
  ASSERT_TRUE(log_->Sign().ok());
  away_ = true;
  EXPECT_TRUE(absl::IsUnavailable(log_->AnswerTo(5).status())) << "when it proves that to a caller";
  const auto answer = log_->AnswerTo(5);
  ASSERT_TRUE(answer.ok()) << answer.status();
  EXPECT_EQ(answer->newest.trouble, "");
  EXPECT_TRUE(
      audit::VerifyConsistency(5, tree_.roots[5], 12, tree_.roots[12], answer->consistency).ok());
}

TEST_F(AuditSigningTest, AMissingEntryIsTrouble) {
  ASSERT_TRUE(log_->Sign().ok());
  Log(7);
  missing_ = 5;
  const auto answer = log_->AnswerTo(3);
  ASSERT_TRUE(answer.ok()) << answer.status();
  EXPECT_THAT(answer->newest.trouble, HasSubstr("entry 5 of the audit log is missing"));
  EXPECT_EQ(answer->newest.checkpoint.size, 5u) << "the last good one";
  missing_ = kNone;
  ASSERT_TRUE(log_->Sign().ok());
  missing_ = 5;
  const auto without = log_->AnswerTo(5);
  ASSERT_TRUE(without.ok()) << without.status();
  EXPECT_THAT(without->newest.trouble, HasSubstr("entry 5 of the audit log is missing"));
  EXPECT_EQ(without->newest.checkpoint.size, 12u);
  EXPECT_THAT(without->consistency, IsEmpty());
}

TEST_F(AuditSigningTest, WhatIsLoggedIsSignedSoonAndAtTheEnd) {
  log_->Start();
  EXPECT_TRUE(AwaitKept(5));
  Log(7);
  EXPECT_TRUE(AwaitKept(12));
  Log(1);
  log_->Stop();
  EXPECT_EQ(KeptSize(), 13u);
}

TEST_F(AuditSigningTest, ACheckpointServesAsLongAsItsCallersTakeIt) {
  ASSERT_TRUE(log_->Sign(2000).ok());
  Log(7);
  clock_.now_ms += 1999;
  EXPECT_EQ(log_->Sign(2000)->checkpoint.size, 5u);
  EXPECT_EQ(Views(), 1);
  EXPECT_EQ(log_->Sign()->checkpoint.size, 12u) << "who takes none gets a new one";
  Log(1);
  clock_.now_ms += 2000;
  EXPECT_EQ(log_->Sign(2000)->checkpoint.size, 13u);
}

TEST_F(AuditSigningTest, ACrowdSharesWhatOneOfItSigned) {
  constexpr int kCallers = 8;
  {
    absl::MutexLock lock(&mutex_);
    open_ = false;
  }
  std::thread first([this] { EXPECT_TRUE(log_->Sign().ok()); });
  while (Views() == 0) std::this_thread::yield();
  Log(7);
  std::atomic<int> came = 0;
  std::vector<std::thread> crowd;
  for (int i = 0; i < kCallers; ++i) {
    crowd.emplace_back([&] {
      ++came;
      EXPECT_EQ(log_->Sign()->checkpoint.size, 12u) << "what was logged before it came is in it";
    });
  }
  while (came < kCallers) std::this_thread::yield();
  std::this_thread::sleep_for(std::chrono::milliseconds(50));  // for the step from there to Sign
  {
    absl::MutexLock lock(&mutex_);
    open_ = true;
  }
  first.join();
  for (std::thread& caller : crowd) caller.join();
  EXPECT_LT(Views(), 1 + kCallers);
}

}  // namespace
}  // namespace corpgrid::scheduler
