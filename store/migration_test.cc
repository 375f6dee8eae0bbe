#include "base/sqlite.h"
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

TEST(MigrationTest, AShardOfVersion1IsReadAfterItsCheckpointGotATable) {
  const corpgrid::testing::TempFolder folder;
  const std::string path = folder / "state.db";
  {
    sqlite::Database db = *sqlite::Database::Open(path);
    ASSERT_TRUE(Migrate(db, Migrations().first(1)).ok());
    ASSERT_TRUE(db.RunScript("INSERT INTO jobs VALUES(1, 'key', x'00', x'00', 0, x'', x'', 0, x'');"
                             "INSERT INTO job_progress VALUES(1, 1, 1, 0, 0, 0, '');"
                             "INSERT INTO job_shards VALUES(1, 0, 0, 2, 3, 4, 5, 0, 'why', x'00');"
                             "UPDATE jobs SET spec_hash = zeroblob(32), bundle_hash = zeroblob(32)")
                    .ok());
  }
  const auto store = OpenSqlite(path);
  ASSERT_TRUE(store.ok()) << store.status();
  const auto loaded = (*store)->Load();
  ASSERT_TRUE(loaded.ok()) << loaded.status();
  ASSERT_THAT(loaded->shards, SizeIs(1));
  EXPECT_EQ(loaded->shards[0].tries, 2u);
  EXPECT_EQ(loaded->shards[0].error, "why");
  EXPECT_THAT(loaded->checkpoints, IsEmpty());
}

TEST(MigrationTest, AGridOfVersion5BeginsAnAuditLog) {
  const corpgrid::testing::TempFolder folder;
  const std::string path = folder / "state.db";
  {
    sqlite::Database db = *sqlite::Database::Open(path);
    ASSERT_TRUE(Migrate(db, Migrations().first(3)).ok());
    ASSERT_TRUE(db.RunScript("INSERT INTO meta VALUES(1, 'grid', 7, 8, 9, 10, 11)").ok());
  }
  const auto store = OpenSqlite(path);
  ASSERT_TRUE(store.ok()) << store.status();
  const auto loaded = (*store)->Load();
  ASSERT_TRUE(loaded.ok()) << loaded.status();
  EXPECT_EQ(loaded->meta.next_attempt, 11u);
  EXPECT_EQ(loaded->meta.audit_size, 0u);
  EXPECT_EQ(loaded->meta.audit_frontier, "");
  EXPECT_THAT(*(*store)->AuditLog(0, 1), IsEmpty());
}

TEST(MigrationTest, NoDeviceOfVersion7IsDrained) {
  const corpgrid::testing::TempFolder folder;
  const std::string path = folder / "state.db";
  {
    sqlite::Database db = *sqlite::Database::Open(path);
    ASSERT_TRUE(Migrate(db, Migrations().first(5)).ok());
    ASSERT_TRUE(
        db.RunScript("INSERT INTO devices VALUES(1, x'', 'a', 'o', 's', 'v', 4, 5, 6, 1, 1);"
                     "INSERT INTO jobs VALUES(1, 'key', zeroblob(32), zeroblob(32), 0, x'', "
                     "x'', 9, x'');"
                     "INSERT INTO job_progress VALUES(1, 0, 0, 0, 0, 0, '')")
            .ok());
  }
  const auto store = OpenSqlite(path);
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
TEST(MigrationTest, JobsThatHadEndedInVersion8CountAsEndedNow) {
  const corpgrid::testing::TempFolder folder;
  const std::string path = folder / "state.db";
  {
    sqlite::Database db = *sqlite::Database::Open(path);
    ASSERT_TRUE(Migrate(db, Migrations().first(6)).ok());
    ASSERT_TRUE(db.RunScript("INSERT INTO meta VALUES(1, 'grid', 7, 800, 9, 10, 11, 0, '');"
                             "INSERT INTO jobs VALUES(1, 'key', zeroblob(32), zeroblob(32), 0, "
                             "x'', x'', 0, x'', 0);"
                             "INSERT INTO job_progress VALUES(1, 2, 3, 3, 0, 77, '')")
                    .ok());
  }
  const auto store = OpenSqlite(path);
  ASSERT_TRUE(store.ok()) << store.status();
  const auto loaded = (*store)->Load();
  ASSERT_TRUE(loaded.ok()) << loaded.status();
  ASSERT_THAT(loaded->finished, SizeIs(1));
  EXPECT_EQ(loaded->finished[0].finished_ms, 800);
  EXPECT_EQ(loaded->finished[0].next_shard, 3u);
}

TEST(MigrationTest, AGridOfVersion8HasNoProjectsOfItsOwn) {
  const corpgrid::testing::TempFolder folder;
  const std::string path = folder / "state.db";
  {
    sqlite::Database db = *sqlite::Database::Open(path);
    ASSERT_TRUE(Migrate(db, Migrations().first(6)).ok());
    ASSERT_TRUE(db.RunScript("INSERT INTO meta VALUES(1, 'grid', 7, 8, 9, 10, 11, 0, x'')").ok());
  }
  const auto store = OpenSqlite(path);
  ASSERT_TRUE(store.ok()) << store.status();
  core::WriteBatch batch;
  batch.projects = {TestProject(1)};
  EXPECT_THAT((*store)->Load()->projects, IsEmpty());
  ASSERT_TRUE((*store)->Commit(batch).ok());
  EXPECT_EQ((*store)->Load()->projects, batch.projects);
}

TEST(MigrationTest, NothingOfVersion12WasChecked) {
  const corpgrid::testing::TempFolder folder;
  const std::string path = folder / "state.db";
  {
    sqlite::Database db = *sqlite::Database::Open(path);
    ASSERT_TRUE(Migrate(db, Migrations().first(9)).ok());
    ASSERT_TRUE(
        db.RunScript("INSERT INTO meta VALUES(1, 'grid', 7, 8, 9, 10, 11, 0, x'');"
                     "INSERT INTO devices VALUES(1, x'', 'a', 'o', 's', 'v', 4, 5, 6, 1, 1, 0);"
                     "INSERT INTO device_reputation VALUES(1, 2, 3, 4, 5, 6, 7, 8, 9);"
                     "INSERT INTO jobs VALUES(1, 'key', zeroblob(32), zeroblob(32), 0, x'', "
                     "x'', 9, x'', 0);"
                     "INSERT INTO job_progress VALUES(1, 1, 3, 2, 0, 0, '', 0);"
                     "INSERT INTO job_shards VALUES(1, 2, 0, 0, 1, 0, 0, 0, 'why', '');"
                     "INSERT INTO job_attempts VALUES(1, 1, 2, 1, 'o', x'', 0, 0)")
            .ok());
  }
  const auto store = OpenSqlite(path);
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

}  // namespace
}  // namespace corpgrid::store
