#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <random>

#include "base/testing/faulty_vfs.h"
#include "base/testing/kill_child.h"
#include "base/testing/small_disk.h"
#include "base/testing/temp_folder.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "store/store.h"
#include "store/test_batches.h"

namespace corpgrid::store {
namespace {

using ::testing::HasSubstr;

TEST(SqliteStoreFaultTest, AfterAFailedCommitItGoesOn) {
  corpgrid::testing::FaultyVfs vfs;
  const corpgrid::testing::TempFolder folder;
  auto store = OpenSqlite(folder / "state.db");
  const core::MetaRow meta = (*store)->Load()->meta;
  ASSERT_TRUE((*store)->Commit(NumberedBatch(meta, 1)).ok());
  const auto expect_failure = [&](std::atomic<int>& fault, int error, absl::StatusCode code) {
    fault = error;
    const absl::Status status = (*store)->Commit(NumberedBatch(meta, 2));
    EXPECT_EQ(status.code(), code) << status;
    EXPECT_THAT(status.message(), HasSubstr(folder / "state.db"));
    fault = SQLITE_OK;
    ExpectWholeBatches(**store, 1);
  };
  expect_failure(vfs.write_error, SQLITE_FULL, absl::StatusCode::kResourceExhausted);
  expect_failure(vfs.write_error, SQLITE_IOERR_WRITE, absl::StatusCode::kUnavailable);
  expect_failure(vfs.sync_error, SQLITE_IOERR_FSYNC, absl::StatusCode::kUnavailable);
  ASSERT_TRUE((*store)->Commit(NumberedBatch(meta, 2)).ok());
  ExpectWholeBatches(**store, 2);
  store->reset();  // before its file layer
}

constexpr int kNoMount = 77;

void FillAndRecover(const std::string& folder) {
  if (!corpgrid::testing::MountSmallDisk(folder, 3 << 20)) ::_exit(kNoMount);
  auto store = OpenSqlite(folder + "/state.db");
  ASSERT_TRUE(store.ok()) << store.status();
  const core::MetaRow meta = (*store)->Load()->meta;
  ASSERT_TRUE((*store)->Commit(NumberedBatch(meta, 1)).ok());
  corpgrid::testing::FillDisk(folder + "/ballast");
  uint64_t next = 2;
  absl::Status status;
  while (status.ok() && next < 1000) status = (*store)->Commit(NumberedBatch(meta, next++));
  const uint64_t failed = next - 1;
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted) << status;
  EXPECT_THAT(status.message(), HasSubstr(folder + "/state.db"));
  ExpectWholeBatches(**store, failed - 1);
  EXPECT_TRUE((*store)->Job(JobId{1}).ok());
  std::filesystem::remove(folder + "/ballast");
  ASSERT_TRUE((*store)->Commit(NumberedBatch(meta, failed)).ok());
  store->reset();
  store = OpenSqlite(folder + "/state.db");
  ASSERT_TRUE(store.ok()) << store.status();
  ExpectWholeBatches(**store, failed);
}

TEST(SqliteStoreFaultTest, AFullDiskIsSaidAndForgotten) {
  const corpgrid::testing::TempFolder folder;
  EXPECT_EXIT(
      {
        FillAndRecover(folder.path());
        ::_exit(::testing::Test::HasFailure() ? 1 : 0);
      },
      [](int status) {
        if (WIFEXITED(status) && WEXITSTATUS(status) == kNoMount) {
          fmt::print("NOT TESTED: this machine allows no mounts\n");
          return true;
        }
        return WIFEXITED(status) && WEXITSTATUS(status) == 0;
      },
      "");
}

void CommitUntilKilled(const std::string& path, int ack) {
  auto store = OpenSqlite(path);
  if (!store.ok()) return;
  const core::MetaRow meta = (*store)->Load()->meta;
  for (uint64_t n = meta.batch + 1;; ++n) {
    if (!(*store)->Commit(NumberedBatch(meta, n)).ok()) return;
    corpgrid::testing::WriteLine(ack, std::to_string(n));
  }
}

TEST(SqliteStoreFaultTest, KilledAtAnyMomentItHasEachAcknowledgedBatchWhole) {
  const corpgrid::testing::TempFolder folder;
  std::mt19937 random(20261121);
  uint64_t acknowledged = 0;
  int rounds_with_commits = 0;
  // Later on a slow machine, until it was killed often enough between commits.
  for (int round = 0; round < 60 || (rounds_with_commits <= 10 && round < 600); ++round) {
    const std::chrono::microseconds delay(1'000 + random() % (60'000 * (1 + round / 60)));
    const std::string path = folder / ("state" + std::to_string(round / 10) + ".db");
    if (round % 10 == 0) acknowledged = 0;  // a new file, so that checking all of it stays quick
    const std::vector<std::string> lines =
        corpgrid::testing::RunAndKill([&](int ack) { CommitUntilKilled(path, ack); }, delay);
    if (!lines.empty()) acknowledged = std::stoull(lines.back());
    rounds_with_commits += lines.empty() ? 0 : 1;
    auto store = OpenSqlite(path);
    ASSERT_TRUE(store.ok()) << store.status();
    ExpectWholeBatches(**store, acknowledged);
    ASSERT_FALSE(HasFailure()) << "round " << round;
  }
  EXPECT_GT(rounds_with_commits, 10);
}

}  // namespace
}  // namespace corpgrid::store
