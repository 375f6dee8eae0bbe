#pragma once

#include "gtest/gtest.h"
#include "store/store.h"
#include "store/test_rows.h"

// Commits that can be told apart afterwards, for tests in which some of them fail.
namespace corpgrid::store {

inline constexpr uint32_t kShardsABatch = 20;

// Batch n makes job n with its shards, attempts, results and checkpoints: many rows in many tables.
inline core::WriteBatch NumberedBatch(const core::MetaRow& meta, uint64_t n) {
  core::WriteBatch batch;
  batch.meta = meta;
  batch.meta->batch = n;
  batch.devices = {TestDevice(1)};
  batch.reputations = {TestReputation(1)};
  batch.projects = {TestProject(n)};
  batch.models = {TestModel(n)};
  batch.jobs = {TestJob(n, core::JobState::kRunning)};
  for (uint32_t i = 0; i < kShardsABatch; ++i) {
    const uint64_t attempt = n * kShardsABatch + i;
    batch.shards.push_back(TestShard(n, i, core::ShardState::kRunning));
    batch.attempts.push_back(TestAttempt(attempt, n, i, 1));
    batch.results.push_back(TestResult(attempt));
    batch.checkpoints.push_back(TestCheckpoint(attempt, n, i, "an owner"));
  }
  batch.audit = {TestAudit(n)};
  return batch;
}

// Batches 1 to MetaRow::batch are there, each whole, and nothing else.
inline void ExpectWholeBatches(Store& store, uint64_t at_least) {
  const absl::StatusOr<core::Snapshot> loaded = store.Load();
  ASSERT_TRUE(loaded.ok()) << loaded.status();
  const uint64_t batches = loaded->meta.batch;
  EXPECT_GE(batches, at_least);
  ASSERT_EQ(loaded->jobs.size(), batches);
  EXPECT_EQ(loaded->projects.size(), batches);
  EXPECT_EQ(loaded->models.size(), batches);
  EXPECT_EQ(loaded->shards.size(), batches * kShardsABatch);
  EXPECT_EQ(loaded->attempts.size(), batches * kShardsABatch);
  EXPECT_EQ(loaded->results.size(), batches * kShardsABatch);
  EXPECT_EQ(loaded->checkpoints.size(), batches * kShardsABatch);
  for (uint64_t i = 0; i < batches; ++i) EXPECT_EQ(loaded->jobs[i].id.value, i + 1);
  EXPECT_EQ(store.AuditLog(0, batches + 1)->size(), batches);
}

}  // namespace corpgrid::store
