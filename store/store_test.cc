#include "store/store.h"

#include "base/sqlite.h"
#include "base/testing/temp_folder.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "store/schema.h"
#include "store/test_rows.h"
#include "store/test_show.h"
#include "store/testing/postgres_server.h"

namespace corpgrid::store {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Pair;
using ::testing::SizeIs;

constexpr auto kRunning = core::JobState::kRunning;

enum class Backend { kSqlite, kPostgres };

// What every store does, whichever database it is on.
class StoreTest : public ::testing::TestWithParam<Backend> {
 protected:
  void SetUp() override {
    name_ = NewName();
    Reopen();
  }

  // Where no store is yet.
  std::string NewName() {
    if (GetParam() == Backend::kPostgres) return testing::PostgresServer::Shared().NewDatabase();
    return folder_ / std::to_string(++stores_) + ".db";
  }

  void Reopen() {
    store_.reset();
    auto store = Open(name_);
    ASSERT_TRUE(store.ok()) << store.status();
    store_ = *std::move(store);
  }

  void Commit(const core::WriteBatch& batch) {
    const absl::Status status = store_->Commit(batch);
    ASSERT_TRUE(status.ok()) << status;
  }

  void Sql(const std::string& name, const std::string& script) {
    if (IsPostgresUrl(name)) return testing::PostgresServer::Sql(name, script);
    sqlite::Database db = *sqlite::Database::Open(name);
    const absl::Status status = db.RunScript(script);
    ASSERT_TRUE(status.ok()) << status;
  }

  std::string name_;
  std::unique_ptr<Store> store_;

 private:
  corpgrid::testing::TempFolder folder_;
  int stores_ = 0;
};

INSTANTIATE_TEST_SUITE_P(Stores, StoreTest, ::testing::Values(Backend::kSqlite, Backend::kPostgres),
                         [](const auto& info) {
                           return info.param == Backend::kSqlite ? "SQLite" : "PostgreSQL";
                         });

TEST_P(StoreTest, ANewStoreIsEmptyWithAGridIdOfItsOwn) {
  const core::Snapshot snapshot = *store_->Load();
  EXPECT_THAT(snapshot.meta.grid_id, ::testing::MatchesRegex("[0-9a-f]{32}"));
  EXPECT_EQ(snapshot.meta.batch, 0u);
  EXPECT_EQ(snapshot.meta.next_device, 1u);
  EXPECT_EQ(snapshot.meta.next_job, 1u);
  EXPECT_EQ(snapshot.meta.next_attempt, 1u);
  EXPECT_THAT(snapshot.devices, IsEmpty());
  Reopen();
  EXPECT_EQ(store_->Load()->meta.grid_id, snapshot.meta.grid_id);
  const auto other = Open(NewName());
  EXPECT_NE((*other)->Load()->meta.grid_id, snapshot.meta.grid_id);
}

TEST_P(StoreTest, EveryColumnComesBack) {
  core::MetaRow meta{.grid_id = store_->Load()->meta.grid_id,
                     .batch = ~uint64_t{0},
                     .time_ms = -5,
                     .next_device = 6,
                     .next_job = 7,
                     .next_attempt = 8};
  core::WriteBatch batch{
      .meta = meta,
      .join_tokens = {TestToken(1)},
      .devices = {TestDevice(1)},
      .reputations = {TestReputation(1)},
      .projects = {TestProject(1)},
      .models = {TestModel(1), TestModel(2)},
      .jobs = {TestJob(1, kRunning)},
      .job_progress = {},
      .shards = {TestShard(1, 0, core::ShardState::kRunning),
                 TestShard(1, 1, core::ShardState::kRunning)},
      .attempts = {TestAttempt(1, 1, 0, 1)},
      .results = {TestResult(1)},
      .checkpoints = {TestCheckpoint(1, 1, 0, ""), TestCheckpoint(1, 1, 0, "an owner")},
      .forgotten_checkpoints = {},
      .audit = {},
      .forgotten_shards = {},
      .forgotten_jobs = {}};
  Commit(batch);
  Reopen();
  const core::Snapshot loaded = *store_->Load();
  EXPECT_EQ(loaded.meta.batch, meta.batch);
  EXPECT_EQ(loaded.meta.time_ms, -5);
  EXPECT_EQ(loaded.meta.next_device, 6u);
  EXPECT_EQ(loaded.meta.next_job, 7u);
  EXPECT_EQ(loaded.meta.next_attempt, 8u);
  ASSERT_THAT(loaded.join_tokens, SizeIs(1));
  EXPECT_EQ(Show(loaded.join_tokens[0]), Show(batch.join_tokens[0]));
  ASSERT_THAT(loaded.devices, SizeIs(1));
  EXPECT_EQ(Show(loaded.devices[0]), Show(batch.devices[0]));
  ASSERT_THAT(loaded.reputations, SizeIs(1));
  EXPECT_EQ(Show(loaded.reputations[0]), Show(batch.reputations[0]));
  EXPECT_EQ(loaded.projects, batch.projects);
  EXPECT_EQ(loaded.models, batch.models);
  ASSERT_THAT(loaded.jobs, SizeIs(1));
  EXPECT_EQ(Show(loaded.jobs[0]), Show(batch.jobs[0]));
  ASSERT_THAT(loaded.shards, SizeIs(2));
  EXPECT_EQ(Show(loaded.shards[0]), Show(batch.shards[0]));
  EXPECT_EQ(Show(loaded.shards[1]), Show(batch.shards[1]));
  ASSERT_THAT(loaded.attempts, SizeIs(1));
  EXPECT_EQ(Show(loaded.attempts[0]), Show(batch.attempts[0]));
  ASSERT_THAT(loaded.results, SizeIs(1));
  EXPECT_EQ(Show(loaded.results[0]), Show(batch.results[0]));
  ASSERT_THAT(loaded.checkpoints, SizeIs(2));
  EXPECT_EQ(Show(loaded.checkpoints[0]), Show(batch.checkpoints[0]));
  EXPECT_EQ(Show(loaded.checkpoints[1]), Show(batch.checkpoints[1]));
}

TEST_P(StoreTest, ForgetsTheCheckpointsOfAShard) {
  core::WriteBatch batch;
  batch.devices = {TestDevice(1)};
  batch.jobs = {TestJob(1, kRunning)};
  batch.shards = {TestShard(1, 0, core::ShardState::kRunning),
                  TestShard(1, 1, core::ShardState::kRunning)};
  batch.attempts = {TestAttempt(1, 1, 0, 1), TestAttempt(2, 1, 1, 1)};
  batch.checkpoints = {TestCheckpoint(1, 1, 0, "a"), TestCheckpoint(1, 1, 0, "b"),
                       TestCheckpoint(2, 1, 1, "a")};
  Commit(batch);
  core::WriteBatch later;
  later.checkpoints = {TestCheckpoint(1, 1, 1, "a")};
  later.forgotten_checkpoints = {{.job = {1}, .index = 0}};
  Commit(later);
  const core::Snapshot loaded = *store_->Load();
  ASSERT_THAT(loaded.checkpoints, SizeIs(1));
  EXPECT_EQ(Show(loaded.checkpoints[0]), Show(later.checkpoints[0])) << "a later one replaces it";
}

TEST_P(StoreTest, ALaterRowOfTheSameKeyReplacesTheEarlier) {
  core::WriteBatch first{.meta = {},
                         .join_tokens = {TestToken(1)},
                         .devices = {TestDevice(1), TestDevice(2)},
                         .reputations = {TestReputation(1)},
                         .projects = {TestProject(1)},
                         .models = {TestModel(1)},
                         .jobs = {TestJob(1, core::JobState::kQueued)},
                         .job_progress = {},
                         .shards = {TestShard(1, 0, core::ShardState::kRunning)},
                         .attempts = {TestAttempt(1, 1, 0, 1)},
                         .results = {TestResult(1)},
                         .checkpoints = {},
                         .forgotten_checkpoints = {},
                         .audit = {},
                         .forgotten_shards = {},
                         .forgotten_jobs = {}};
  Commit(first);
  core::WriteBatch second;
  second.join_tokens = {first.join_tokens[0]};
  second.join_tokens[0].uses_left = 0;
  second.devices = {TestDevice(9)};
  second.devices[0].id = {1};
  second.reputations = {TestReputation(9), TestReputation(8)};
  second.reputations[0].device = second.reputations[1].device = {1};
  second.models = {TestModel(9), TestModel(8)};
  second.models[0].name = second.models[1].name = first.models[0].name;
  second.projects = {TestProject(9), TestProject(8)};
  second.projects[0].name = second.projects[1].name = first.projects[0].name;
  second.job_progress = {TestJob(1, kRunning).progress};
  second.job_progress[0].done = 99;
  second.shards = {TestShard(1, 0, core::ShardState::kRunning)};
  second.shards[0].tries = 50;
  second.attempts = {TestAttempt(1, 1, 0, 2)};
  second.results = {TestResult(1)};
  second.results[0].detail = "replaced";
  Commit(second);
  const core::Snapshot loaded = *store_->Load();
  EXPECT_EQ(loaded.join_tokens.at(0).uses_left, 0u);
  EXPECT_EQ(Show(loaded.devices.at(0)), Show(second.devices[0]));
  EXPECT_EQ(Show(loaded.reputations.at(0)), Show(second.reputations[1]));
  EXPECT_THAT(loaded.projects, ElementsAre(second.projects[1]));
  EXPECT_THAT(loaded.models, ElementsAre(second.models[1]));
  core::JobRow job = first.jobs[0];
  job.progress = second.job_progress[0];
  EXPECT_EQ(Show(loaded.jobs.at(0)), Show(job));
  EXPECT_EQ(Show(loaded.shards.at(0)), Show(second.shards[0]));
  EXPECT_EQ(Show(loaded.attempts.at(0)), Show(second.attempts[0]));
  EXPECT_EQ(Show(loaded.results.at(0)), Show(second.results[0]));
}

TEST_P(StoreTest, LoadGivesWhatIsUnfinished) {
  core::WriteBatch batch;
  batch.devices = {TestDevice(1)};
  batch.jobs = {TestJob(1, core::JobState::kQueued), TestJob(2, kRunning),
                TestJob(3, core::JobState::kDone), TestJob(4, core::JobState::kFailed),
                TestJob(5, core::JobState::kCancelled)};
  uint64_t attempt = 0;
  for (const uint64_t job : {2u, 3u, 5u}) {
    using enum core::ShardState;
    batch.shards.insert(batch.shards.end(), {TestShard(job, 0, kDone), TestShard(job, 1, kRunning),
                                             TestShard(job, 2, kFailed)});
    for (uint32_t shard = 0; shard < 3; ++shard) {
      batch.attempts.push_back(TestAttempt(++attempt, job, shard, 1));
      batch.results.push_back(TestResult(attempt));
      batch.attempts.push_back(TestAttempt(++attempt, job, shard, 1));
    }
  }
  Commit(batch);
  const core::Snapshot loaded = *store_->Load();
  ASSERT_THAT(loaded.jobs, SizeIs(2));
  EXPECT_EQ(loaded.jobs[0].id.value, 1u);
  EXPECT_EQ(loaded.jobs[1].id.value, 2u);
  ASSERT_THAT(loaded.shards, SizeIs(1));
  EXPECT_EQ(loaded.shards[0].id, (ShardId{{2}, 1}));
  ASSERT_THAT(loaded.attempts, SizeIs(2));
  EXPECT_EQ(loaded.attempts[0].id.value, 3u);
  EXPECT_EQ(loaded.attempts[1].id.value, 4u);
  ASSERT_THAT(loaded.results, SizeIs(1));
  EXPECT_EQ(loaded.results[0].attempt.value, 3u);
  ASSERT_THAT(loaded.finished, SizeIs(3));
  for (uint64_t i = 0; i < 3; ++i) {
    EXPECT_EQ(loaded.finished[i].idempotency_key, fmt::format("key {}", i + 3));
    EXPECT_EQ(loaded.finished[i].id.value, i + 3);
    EXPECT_EQ(loaded.finished[i].state, batch.jobs[i + 2].progress.state);
    EXPECT_EQ(loaded.finished[i].finished_ms, static_cast<int64_t>(i) + 81);
  }
}

TEST_P(StoreTest, ReadsComeInPages) {
  core::WriteBatch batch;
  batch.devices = {TestDevice(1)};
  for (uint64_t n = 1; n <= 5; ++n) batch.jobs.push_back(TestJob(n, kRunning));
  for (uint32_t i = 0; i < 6; ++i) {
    if (i != 3) batch.shards.push_back(TestShard(2, i, core::ShardState::kDone));
  }
  batch.attempts = {TestAttempt(9, 2, 1, 1), TestAttempt(7, 2, 2, 1), TestAttempt(8, 2, 1, 1),
                    TestAttempt(6, 2, 4, 1)};
  batch.results = {TestResult(8)};
  Commit(batch);

  const auto newest = *store_->Jobs(JobId{0}, 2);
  ASSERT_THAT(newest, SizeIs(2));
  EXPECT_EQ(newest[0].id.value, 5u);
  EXPECT_EQ(newest[1].id.value, 4u);
  const auto older = *store_->Jobs(JobId{4}, SIZE_MAX);
  ASSERT_THAT(older, SizeIs(3));
  EXPECT_EQ(older[2].id.value, 1u);
  EXPECT_EQ(Show(*store_->Job(JobId{3})), Show(TestJob(3, kRunning)));
  EXPECT_EQ(store_->Job(JobId{6}).status().code(), absl::StatusCode::kNotFound);

  const auto shards = *store_->Shards(JobId{2}, 2, 2);
  ASSERT_THAT(shards, SizeIs(2));
  EXPECT_EQ(shards[0].id.index, 2u);
  EXPECT_EQ(shards[1].id.index, 4u);
  EXPECT_THAT(*store_->Shards(JobId{1}, 0, 10), IsEmpty());

  const auto attempts = *store_->Attempts(JobId{2}, 1, 2);
  ASSERT_THAT(attempts, SizeIs(3));
  EXPECT_EQ(attempts[0].attempt.id.value, 8u);
  EXPECT_EQ(attempts[1].attempt.id.value, 9u);
  EXPECT_EQ(attempts[2].attempt.id.value, 7u);
  EXPECT_FALSE(attempts[1].result.has_value());
  core::ResultRow without_tails = TestResult(8);
  without_tails.stdout_tail = without_tails.stderr_tail = "";
  ASSERT_TRUE(attempts[0].result.has_value());
  EXPECT_EQ(Show(*attempts[0].result), Show(without_tails));

  EXPECT_EQ(Show(*store_->Attempt(AttemptId{8})->result), Show(TestResult(8)));
  EXPECT_FALSE(store_->Attempt(AttemptId{9})->result.has_value());
  EXPECT_EQ(store_->Attempt(AttemptId{1}).status().code(), absl::StatusCode::kNotFound);
}

TEST_P(StoreTest, RowsWithoutTheOnesTheyBelongToAreRefusedWhole) {
  core::WriteBatch batch;
  batch.devices = {TestDevice(1)};
  batch.shards = {TestShard(7, 0, core::ShardState::kRunning)};
  EXPECT_EQ(store_->Commit(batch).code(), absl::StatusCode::kInternal);
  EXPECT_THAT(store_->Load()->devices, IsEmpty());
  batch.jobs = {TestJob(7, kRunning)};
  Commit(batch);
  EXPECT_THAT(store_->Load()->shards, SizeIs(1));
}

TEST_P(StoreTest, AnotherGridsBatchIsRefused) {
  core::WriteBatch batch;
  batch.meta = core::MetaRow{.grid_id = "another"};
  batch.devices = {TestDevice(1)};
  EXPECT_EQ(store_->Commit(batch).code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(store_->Load()->devices, IsEmpty());
}

TEST_P(StoreTest, ADamagedRowIsDataLoss) {
  core::WriteBatch batch;
  batch.jobs = {TestJob(1, kRunning)};
  Commit(batch);
  Sql(name_, "UPDATE job_progress SET next_shard = -1");
  EXPECT_EQ(store_->Load().status().code(), absl::StatusCode::kDataLoss);
  Sql(name_, "UPDATE job_progress SET next_shard = 1; UPDATE jobs SET spec_hash = 'short'");
  EXPECT_EQ(store_->Job(JobId{1}).status().code(), absl::StatusCode::kDataLoss);
  Sql(name_, "UPDATE job_progress SET state = 6");
  const absl::Status unknown = store_->Jobs(JobId{0}, 5).status();
  EXPECT_EQ(unknown.code(), absl::StatusCode::kDataLoss);
  EXPECT_THAT(unknown.message(), HasSubstr("or a newer program wrote it"));
}

TEST_P(StoreTest, ANewerStoreIsLeftAlone) {
  store_.reset();
  Sql(name_, "INSERT INTO schema_version VALUES(1000)");
  const absl::Status status = Open(name_).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(status.message(), HasSubstr("version 1000"));
}

TEST_P(StoreTest, AnotherProgramsTablesAreLeftAlone) {
  const std::string name = NewName();
  Sql(name, "CREATE TABLE photos(id INTEGER)");
  const absl::Status status = Open(name).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(status.message(), HasSubstr("another program"));
}

TEST_P(StoreTest, AStoreOfTheFirstVersionIsMigrated) {
  const std::string name = NewName();
  Sql(name, ScriptOf(Migrations()[0]));
  Sql(name, "INSERT INTO meta VALUES(1, 'first', 5, 6, 7, 8, 9)");
  Sql(name, "INSERT INTO join_tokens VALUES('abcdefghijklmnopqrstuvwxyzabcdef', 'ada', 3, 'k')");
  const auto store = Open(name);
  ASSERT_TRUE(store.ok()) << store.status();
  const core::Snapshot loaded = *(*store)->Load();
  EXPECT_EQ(loaded.meta.grid_id, "first");
  EXPECT_EQ(loaded.meta.batch, 5u);
  EXPECT_EQ(loaded.join_tokens.at(0).owner, "ada");
}

TEST_P(StoreTest, ALateRowOfAManyRowBatchStillReplacesTheEarlier) {
  core::WriteBatch batch;
  for (uint64_t n = 1; n <= 1000; ++n) {
    batch.jobs.push_back(TestJob(n, core::JobState::kQueued));
    batch.job_progress.push_back(TestJob(n, kRunning).progress);
    batch.job_progress.back().done = 5;
  }
  Commit(batch);
  const core::Snapshot loaded = *store_->Load();
  ASSERT_THAT(loaded.jobs, SizeIs(1000));
  for (const core::JobRow& job : loaded.jobs) EXPECT_EQ(job.progress.done, 5u) << job.id.value;
}

}  // namespace
}  // namespace corpgrid::store
