#include "base/sqlite.h"
#include "base/status_macros.h"
#include "base/testing/temp_folder.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "store/schema.h"
#include "store/sqlite_store.h"
#include "store/test_rows.h"

namespace corpgrid::store {
namespace {

using ::testing::IsEmpty;
using ::testing::SizeIs;

class MigrationTest : public ::testing::Test {
 protected:
  // A store that a program of before made, which knew the first `steps`, with these rows.
  absl::StatusOr<std::unique_ptr<Store>> Upgraded(size_t steps, const std::string& rows) {
    const std::string path = folder_ / "state.db";
    {
      ASSIGN_OR_RETURN(sqlite::Database db, sqlite::Database::Open(path));
      RETURN_IF_ERROR(Migrate(db, Migrations().first(steps)));
      RETURN_IF_ERROR(db.RunScript(rows));
    }
    return OpenSqlite(path);
  }

  corpgrid::testing::TempFolder folder_;
};

TEST_F(MigrationTest, AShardOfVersion1IsReadAfterItsCheckpointGotATable) {
  const auto store =
      Upgraded(1,
               "INSERT INTO jobs VALUES(1, 'key', x'00', x'00', 0, x'', x'', 0, x'');"
               "INSERT INTO job_progress VALUES(1, 1, 1, 0, 0, 0, '');"
               "INSERT INTO job_shards VALUES(1, 0, 0, 2, 3, 4, 5, 0, 'why', x'00');"
               "UPDATE jobs SET spec_hash = zeroblob(32), bundle_hash = zeroblob(32)");
  ASSERT_TRUE(store.ok()) << store.status();
  const auto loaded = (*store)->Load();
  ASSERT_TRUE(loaded.ok()) << loaded.status();
  ASSERT_THAT(loaded->shards, SizeIs(1));
  EXPECT_EQ(loaded->shards[0].tries, 2u);
  EXPECT_EQ(loaded->shards[0].error, "why");
  EXPECT_THAT(loaded->checkpoints, IsEmpty());
}

TEST_F(MigrationTest, AGridOfVersion5BeginsAnAuditLog) {
  const auto store = Upgraded(3, "INSERT INTO meta VALUES(1, 'grid', 7, 8, 9, 10, 11)");
  ASSERT_TRUE(store.ok()) << store.status();
  const auto loaded = (*store)->Load();
  ASSERT_TRUE(loaded.ok()) << loaded.status();
  EXPECT_EQ(loaded->meta.next_attempt, 11u);
  EXPECT_EQ(loaded->meta.audit_size, 0u);
  EXPECT_EQ(loaded->meta.audit_frontier, "");
  EXPECT_THAT(*(*store)->AuditLog(0, 1), IsEmpty());
}

TEST_F(MigrationTest, NoDeviceOfVersion7IsDrained) {
  const auto store =
      Upgraded(5,
               "INSERT INTO devices VALUES(1, x'', 'a', 'o', 's', 'v', 4, 5, 6, 1, 1);"
               "INSERT INTO jobs VALUES(1, 'key', zeroblob(32), zeroblob(32), 0, x'', "
               "x'', 9, x'');"
               "INSERT INTO job_progress VALUES(1, 0, 0, 0, 0, 0, '')");
  ASSERT_TRUE(store.ok()) << store.status();
  const auto loaded = (*store)->Load();
  ASSERT_TRUE(loaded.ok()) << loaded.status();
  ASSERT_THAT(loaded->devices, SizeIs(1));
  EXPECT_FALSE(loaded->devices[0].drained);
  EXPECT_TRUE(loaded->devices[0].network_allowed);
  ASSERT_THAT(loaded->jobs, SizeIs(1));
  EXPECT_EQ(loaded->jobs[0].submitted_ms, 0);
  EXPECT_EQ(loaded->jobs[0].submitted_wall_ms, 9);
}

// Else all of them would be removed at once for having ended at the beginning of time.
TEST_F(MigrationTest, JobsThatHadEndedInVersion8CountAsEndedNow) {
  const auto store = Upgraded(6,
                              "INSERT INTO meta VALUES(1, 'grid', 7, 800, 9, 10, 11, 0, '');"
                              "INSERT INTO jobs VALUES(1, 'key', zeroblob(32), zeroblob(32), 0, "
                              "x'', x'', 0, x'', 0);"
                              "INSERT INTO job_progress VALUES(1, 2, 3, 3, 0, 77, '')");
  ASSERT_TRUE(store.ok()) << store.status();
  const auto loaded = (*store)->Load();
  ASSERT_TRUE(loaded.ok()) << loaded.status();
  ASSERT_THAT(loaded->finished, SizeIs(1));
  EXPECT_EQ(loaded->finished[0].finished_ms, 800);
  EXPECT_EQ(loaded->finished[0].next_shard, 3u);
}

TEST_F(MigrationTest, AGridOfVersion8HasNoProjectsOfItsOwn) {
  const auto store = Upgraded(6, "INSERT INTO meta VALUES(1, 'grid', 7, 8, 9, 10, 11, 0, x'')");
  ASSERT_TRUE(store.ok()) << store.status();
  core::WriteBatch batch;
  batch.projects = {TestProject(1)};
  EXPECT_THAT((*store)->Load()->projects, IsEmpty());
  ASSERT_TRUE((*store)->Commit(batch).ok());
  EXPECT_EQ((*store)->Load()->projects, batch.projects);
}

TEST_F(MigrationTest, NothingOfVersion12WasChecked) {
  const auto store =
      Upgraded(9,
               "INSERT INTO meta VALUES(1, 'grid', 7, 8, 9, 10, 11, 0, x'');"
               "INSERT INTO devices VALUES(1, x'', 'a', 'o', 's', 'v', 4, 5, 6, 1, 1, 0);"
               "INSERT INTO device_reputation VALUES(1, 2, 3, 4, 5, 6, 7, 8, 9);"
               "INSERT INTO jobs VALUES(1, 'key', zeroblob(32), zeroblob(32), 0, x'', "
               "x'', 9, x'', 0);"
               "INSERT INTO job_progress VALUES(1, 1, 3, 2, 0, 0, '', 0);"
               "INSERT INTO job_shards VALUES(1, 2, 0, 0, 1, 0, 0, 0, 'why', '');"
               "INSERT INTO job_attempts VALUES(1, 1, 2, 1, 'o', x'', 0, 0)");
  ASSERT_TRUE(store.ok()) << store.status();
  const auto loaded = (*store)->Load();
  ASSERT_TRUE(loaded.ok()) << loaded.status();
  ASSERT_THAT(loaded->devices, SizeIs(1));
  EXPECT_FALSE(loaded->devices[0].trusted);
  EXPECT_EQ(loaded->reputations.at(0).checked, 0u);
  const core::JobProgressRow& progress = loaded->jobs.at(0).progress;
  EXPECT_EQ(progress.checked, 0u);
  EXPECT_EQ(progress.bound_billionths, 1'000'000'000);
  EXPECT_EQ(loaded->jobs.at(0).audit_chance, 0u);
  EXPECT_EQ(loaded->shards.at(0).audit, core::AuditState::kNone);
  EXPECT_EQ(loaded->shards.at(0).error, "why");
  EXPECT_FALSE(loaded->attempts.at(0).trusted);
}

TEST_F(MigrationTest, NoModelOfVersion18SharesMemoryOrHasALimitOfIt) {
  const auto store = Upgraded(
      14, "INSERT INTO models VALUES('chat', 7, zeroblob(32), 2, 4, 512, 60000, 0, 'Q4_0')");
  ASSERT_TRUE(store.ok()) << store.status();
  const auto loaded = (*store)->Load();
  ASSERT_TRUE(loaded.ok()) << loaded.status();
  ASSERT_THAT(loaded->models, SizeIs(1));
  EXPECT_FALSE(loaded->models[0].shared_memory);
  EXPECT_EQ(loaded->models[0].memory_bytes, 0u);
  EXPECT_EQ(loaded->models[0].type, "Q4_0");
}

}  // namespace
}  // namespace corpgrid::store
