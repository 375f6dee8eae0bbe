// Signing by itself, with a tree in memory: what becomes of a store that is away or was changed.

#include <atomic>
#include <string>
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

class AuditSigningTest : public ::testing::Test {
 protected:
  AuditSigningTest() { Log(5); }

  void Log(int count) {
    absl::MutexLock lock(&mutex_);
    for (int i = 0; i < count; ++i) tree_.Append(fmt::format("entry {}", tree_.leaves.size()));
  }
  absl::StatusOr<core::LogView> View() {
    absl::MutexLock lock(&mutex_);
    return core::LogView{.size = tree_.leaves.size(), .root = tree_.roots.back()};
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
                            .read = [this](uint64_t first, size_t) { return Read(first); }});
  }

  const corpgrid::testing::TempFolder folder_;
  absl::Mutex mutex_;
  audit::TestTree tree_;
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

}  // namespace
}  // namespace corpgrid::scheduler
