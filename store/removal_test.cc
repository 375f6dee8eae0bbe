// How jobs go from a store, whichever database it is on.

#include "base/testing/temp_folder.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "store/store.h"
#include "store/test_rows.h"
#include "store/testing/postgres_server.h"

namespace corpgrid::store {
namespace {

using ::testing::IsEmpty;
using ::testing::SizeIs;

constexpr auto kRunning = core::JobState::kRunning;

enum class Backend { kSqlite, kPostgres };

class RemovalTest : public ::testing::TestWithParam<Backend> {
 protected:
  void Reopen() {
    store_.reset();
    store_ = *Open(name_);
  }
  void Commit(const core::WriteBatch& batch) {
    const absl::Status status = store_->Commit(batch);
    ASSERT_TRUE(status.ok()) << status;
  }

  corpgrid::testing::TempFolder folder_;
  const std::string name_ = GetParam() == Backend::kSqlite
                                ? folder_ / "state.db"
                                : testing::PostgresServer::Shared().NewDatabase();
  std::unique_ptr<Store> store_ = *Open(name_);
};

INSTANTIATE_TEST_SUITE_P(Stores, RemovalTest,
                         ::testing::Values(Backend::kSqlite, Backend::kPostgres),
                         [](const auto& info) {
                           return info.param == Backend::kSqlite ? "SQLite" : "PostgreSQL";
                         });

// Two jobs of three shards each, the first one done.
core::WriteBatch TwoJobs() {
  core::WriteBatch batch;
  batch.devices = {TestDevice(1)};
  batch.jobs = {TestJob(1, core::JobState::kDone), TestJob(2, kRunning)};
  for (uint64_t attempt = 1; attempt <= 6; ++attempt) {
    const uint64_t job = attempt <= 3 ? 1 : 2;
    const uint32_t shard = attempt % 3;
    batch.shards.push_back(TestShard(job, shard, core::ShardState::kRunning));
    batch.attempts.push_back(TestAttempt(attempt, job, shard, 1));
    batch.results.push_back(TestResult(attempt));
    batch.checkpoints.push_back(TestCheckpoint(attempt, job, shard, "a"));
  }
  return batch;
}

TEST_P(RemovalTest, ARemovedJobIsNotToBeFoundAndGoesBitByBit) {
  Commit(TwoJobs());
  core::WriteBatch mark;
  mark.job_progress = {{.id = {1}, .state = core::JobState::kRemoved, .next_shard = 3}};
  Commit(mark);
  EXPECT_TRUE(absl::IsNotFound(store_->Job(JobId{1}).status()));
  EXPECT_TRUE(absl::IsNotFound(store_->Attempt(AttemptId{1}).status()));
  EXPECT_THAT(*store_->Jobs(JobId{0}, 9), SizeIs(1));
  core::WriteBatch slice;
  slice.job_progress = {{.id = {1}, .state = core::JobState::kRemoved, .next_shard = 1}};
  slice.forgotten_shards = {{.job = {1}, .first = 1, .last = 2}};
  Commit(slice);
  Reopen();
  core::Snapshot loaded = *store_->Load();
  ASSERT_THAT(loaded.finished, SizeIs(1));
  EXPECT_EQ(loaded.finished[0].state, core::JobState::kRemoved);
  EXPECT_EQ(loaded.finished[0].next_shard, 1u);
  EXPECT_THAT(*store_->Shards(JobId{1}, 0, 9), SizeIs(1));
  EXPECT_THAT(*store_->Attempts(JobId{1}, 0, 9), SizeIs(1));
  core::WriteBatch last;
  last.forgotten_shards = {{.job = {1}, .first = 0, .last = 0}};
  last.forgotten_jobs = {JobId{1}};
  Commit(last);
  loaded = *store_->Load();
  EXPECT_THAT(loaded.finished, IsEmpty());
  EXPECT_THAT(*store_->Shards(JobId{1}, 0, 9), IsEmpty());
  EXPECT_THAT(*store_->Shards(JobId{2}, 0, 9), SizeIs(3)) << "another job's stay";
  EXPECT_THAT(loaded.attempts, SizeIs(3));
  EXPECT_THAT(loaded.results, SizeIs(3));
  EXPECT_THAT(loaded.checkpoints, SizeIs(3));
}

TEST_P(RemovalTest, AJobThatStillHasShardsIsNotForgotten) {
  Commit(TwoJobs());
  core::WriteBatch batch;
  batch.forgotten_jobs = {JobId{1}};
  EXPECT_EQ(store_->Commit(batch).code(), absl::StatusCode::kInternal);
  EXPECT_TRUE(store_->Job(JobId{1}).ok());
}

}  // namespace
}  // namespace corpgrid::store
