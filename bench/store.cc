#include "store/store.h"

#include <benchmark/benchmark.h>

#include <string>

#include "base/testing/temp_folder.h"
#include "store/test_rows.h"
#include "store/testing/postgres_server.h"

// What a commit costs a row: a batch in which 64 shards are leased, handed in and decided; on
// SQLite and on a PostgreSQL server that runs beside, both flushing every commit to the disk.
namespace corpgrid::store {
namespace {

constexpr uint32_t kShards = 64;

// Of a shard's life: leased (shard, attempt), then decided (shard, attempt, result), as two
// batches.
core::WriteBatch Leased(const core::MetaRow& meta, uint32_t first_shard) {
  core::WriteBatch batch;
  batch.meta = meta;
  core::JobRow job = TestJob(1, core::JobState::kRunning);
  batch.job_progress = {job.progress};
  for (uint32_t i = 0; i < kShards; ++i) {
    core::ShardRow shard = TestShard(1, first_shard + i, core::ShardState::kRunning);
    shard.error.clear();
    batch.shards.push_back(shard);
    core::AttemptRow attempt = TestAttempt(first_shard + i + 1, 1, first_shard + i, 1 + i % 3);
    attempt.state = core::AttemptState::kRunning;
    batch.attempts.push_back(attempt);
  }
  return batch;
}

core::WriteBatch Decided(const core::MetaRow& meta, uint32_t first_shard) {
  core::WriteBatch batch = Leased(meta, first_shard);
  for (uint64_t device = 1; device <= 3; ++device) {
    batch.reputations.push_back(TestReputation(device));
  }
  for (core::ShardRow& shard : batch.shards) shard.state = core::ShardState::kDone;
  for (core::AttemptRow& attempt : batch.attempts) {
    attempt.state = core::AttemptState::kAgreed;
    core::ResultRow result = TestResult(attempt.id.value);
    result.result.outputs.resize(1);
    batch.results.push_back(result);
  }
  return batch;
}

int64_t RowsOf(const core::WriteBatch& b) {
  return static_cast<int64_t>(1 + b.job_progress.size() + b.reputations.size() + b.shards.size() +
                              b.attempts.size() + b.results.size());
}

enum Backend : int64_t { kSqlite, kPostgres };

std::unique_ptr<Store> NewStore(benchmark::State& state, const std::string& folder) {
  static testing::PostgresServer server(testing::PostgresServer::Flush::kYes);
  const bool postgres = state.range(0) == kPostgres;
  state.SetLabel(postgres ? "PostgreSQL" : "SQLite");
  return *Open(postgres ? server.NewDatabase() : folder + "/state.db");
}

void LeaseAndDecide64Shards(benchmark::State& state) {
  const corpgrid::testing::TempFolder folder;
  auto store = NewStore(state, folder.path());
  const core::MetaRow meta = store->Load()->meta;
  core::WriteBatch setup;
  for (uint64_t device = 1; device <= 3; ++device) setup.devices.push_back(TestDevice(device));
  setup.jobs = {TestJob(1, core::JobState::kRunning)};
  if (!store->Commit(setup).ok()) state.SkipWithError("Commit failed");
  int64_t rows = 0;
  uint32_t next_shard = 0;
  for (auto _ : state) {
    state.PauseTiming();
    const core::WriteBatch leased = Leased(meta, next_shard);
    const core::WriteBatch decided = Decided(meta, next_shard);
    rows += RowsOf(leased) + RowsOf(decided);
    next_shard += kShards;
    state.ResumeTiming();
    if (!store->Commit(leased).ok()) state.SkipWithError("Commit failed");
    if (!store->Commit(decided).ok()) state.SkipWithError("Commit failed");
  }
  state.SetItemsProcessed(rows);
  state.counters["us_per_row"] = benchmark::Counter(
      static_cast<double>(rows) / 1e6, benchmark::Counter::kIsRate | benchmark::Counter::kInvert);
}
BENCHMARK(LeaseAndDecide64Shards)
    ->Arg(kSqlite)
    ->Arg(kPostgres)
    ->UseRealTime()
    ->Unit(benchmark::kMicrosecond);

void LoadWith10000FinishedShards(benchmark::State& state) {
  const corpgrid::testing::TempFolder folder;
  auto store = NewStore(state, folder.path());
  const core::MetaRow meta = store->Load()->meta;
  core::WriteBatch setup;
  for (uint64_t device = 1; device <= 3; ++device) setup.devices.push_back(TestDevice(device));
  setup.jobs = {TestJob(1, core::JobState::kRunning)};
  if (!store->Commit(setup).ok()) state.SkipWithError("Commit failed");
  for (uint32_t shard = 0; shard < 10'000; shard += kShards) {
    if (!store->Commit(Decided(meta, shard)).ok()) state.SkipWithError("Commit failed");
  }
  if (!store->Commit(Leased(meta, 10'048)).ok()) state.SkipWithError("Commit failed");
  for (auto _ : state) {
    if (store->Load()->attempts.size() != kShards) state.SkipWithError("Load is wrong");
  }
}
BENCHMARK(LoadWith10000FinishedShards)
    ->Arg(kSqlite)
    ->Arg(kPostgres)
    ->UseRealTime()
    ->Unit(benchmark::kMicrosecond);

}  // namespace
}  // namespace corpgrid::store

BENCHMARK_MAIN();
