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
#include "store/test_rows.h"

namespace corpgrid::store {
namespace {

using ::testing::HasSubstr;

constexpr uint32_t kShardsABatch = 20;

// Batch n makes job n with its shards, attempts and results: many rows in many tables.
core::WriteBatch NumberedBatch(const core::MetaRow& meta, uint64_t n) {
  core::WriteBatch batch;
  batch.meta = meta;
  batch.meta->batch = n;
  batch.devices = {TestDevice(1)};
  batch.reputations = {TestReputation(1)};
  batch.jobs = {TestJob(n, core::JobState::kRunning)};
  for (uint32_t i = 0; i < kShardsABatch; ++i) {
    const uint64_t attempt = n * kShardsABatch + i;
    batch.shards.push_back(TestShard(n, i, core::ShardState::kRunning));
    batch.attempts.push_back(TestAttempt(attempt, n, i, 1));
    batch.results.push_back(TestResult(attempt));
  }
  return batch;
}

// Batches 1 to MetaRow::batch are there, each whole, and nothing else.
void ExpectWholeBatches(Store& store, uint64_t at_least) {
  const absl::StatusOr<core::Snapshot> loaded = store.Load();
  ASSERT_TRUE(loaded.ok()) << loaded.status();
  const uint64_t batches = loaded->meta.batch;
  EXPECT_GE(batches, at_least);
  ASSERT_EQ(loaded->jobs.size(), batches);
  EXPECT_EQ(loaded->shards.size(), batches * kShardsABatch);
  EXPECT_EQ(loaded->attempts.size(), batches * kShardsABatch);
  EXPECT_EQ(loaded->results.size(), batches * kShardsABatch);
  for (uint64_t i = 0; i < batches; ++i) EXPECT_EQ(loaded->jobs[i].id.value, i + 1);
}

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
  for (int round = 0; round < 60; ++round) {
    const std::chrono::microseconds delay(1'000 + random() % 60'000);
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
