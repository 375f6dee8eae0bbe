#include "base/sqlite.h"

#include <sqlite3.h>
#include <unistd.h>

#include <fstream>

#include "base/file.h"
#include "base/testing/faulty_vfs.h"
#include "base/testing/temp_folder.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace corpgrid::sqlite {
namespace {

using ::testing::HasSubstr;

int64_t Count(Database& db) {
  absl::StatusOr<Query> query = db.Ask("SELECT COUNT(*) FROM t");
  EXPECT_TRUE(query.ok() && query->Next().value_or(false)) << query.status();
  return query->Int(0);
}

class SqliteTest : public ::testing::Test {
 protected:
  Database OpenWithTable() {
    Database db = *Database::Open(folder_ / "x.db");
    EXPECT_TRUE(db.RunScript("CREATE TABLE IF NOT EXISTS t(a INTEGER, b TEXT, c BLOB)").ok());
    return db;
  }
  corpgrid::testing::TempFolder folder_;
};

TEST_F(SqliteTest, ValuesComeBackAsTheyWent) {
  Database db = OpenWithTable();
  const std::string bytes("a\0b\xff", 4);
  ASSERT_TRUE(db.Run("INSERT INTO t VALUES(?, ?, ?)", -7, bytes, Blob{bytes}).ok());
  ASSERT_TRUE(db.Run("INSERT INTO t VALUES(?, ?, ?)", Null{}, "", Blob{""}).ok());
  Query query = *db.Ask("SELECT a, b, c FROM t ORDER BY rowid");
  ASSERT_TRUE(*query.Next());
  EXPECT_EQ(query.Int(0), -7);
  EXPECT_EQ(query.Bytes(1), bytes);
  EXPECT_EQ(query.Bytes(2), bytes);
  ASSERT_TRUE(*query.Next());
  EXPECT_TRUE(query.IsNull(0));
  EXPECT_FALSE(query.IsNull(2));
  EXPECT_EQ(query.Bytes(2), "");
  EXPECT_FALSE(*query.Next());
}

TEST_F(SqliteTest, AFailedTransactionLeavesNothing) {
  Database db = OpenWithTable();
  const absl::Status status = db.Transaction([&] {
    EXPECT_TRUE(db.Run("INSERT INTO t(a) VALUES(1)").ok());
    return absl::AbortedError("no");
  });
  EXPECT_EQ(status.message(), "no");
  EXPECT_EQ(Count(db), 0);
  EXPECT_TRUE(db.Transaction([&] { return db.Run("INSERT INTO t(a) VALUES(1)"); }).ok());
  EXPECT_EQ(Count(db), 1);
}

TEST_F(SqliteTest, EveryFaultHasItsCodeAndNamesTheFile) {
  corpgrid::testing::FaultyVfs faults;
  Database db = OpenWithTable();
  const auto insert = [&] {
    return db.Transaction([&] { return db.Run("INSERT INTO t(a) VALUES(1)"); });
  };
  faults.write_error = SQLITE_FULL;
  absl::Status status = insert();
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_THAT(status.message(), HasSubstr(folder_ / "x.db"));
  faults.write_error = SQLITE_IOERR_WRITE;
  EXPECT_EQ(insert().code(), absl::StatusCode::kUnavailable);
  faults.write_error = SQLITE_OK;
  faults.sync_error = SQLITE_IOERR_FSYNC;
  EXPECT_EQ(insert().code(), absl::StatusCode::kUnavailable);
  faults.sync_error = SQLITE_OK;
  EXPECT_TRUE(insert().ok());
  EXPECT_EQ(Count(db), 1);
}

TEST_F(SqliteTest, ACommitIsFlushed) {
  corpgrid::testing::FaultyVfs faults;
  Database db = OpenWithTable();
  const int before = faults.syncs;
  ASSERT_TRUE(db.Transaction([&] { return db.Run("INSERT INTO t(a) VALUES(1)"); }).ok());
  EXPECT_GT(faults.syncs, before);
}

TEST_F(SqliteTest, WhatIsNoDatabaseIsDataLoss) {
  std::ofstream(folder_ / "x.db") << std::string(4096, 'x');
  EXPECT_EQ(Database::Open(folder_ / "x.db").status().code(), absl::StatusCode::kDataLoss);
}

TEST_F(SqliteTest, ReadersSeeCommitsAndNeitherWaits) {
  Database db = OpenWithTable();
  ReadPool pool(folder_ / "x.db");
  ASSERT_TRUE(db.Run("INSERT INTO t(a) VALUES(1)").ok());
  EXPECT_TRUE(db.Transaction([&]() -> absl::Status {
                  EXPECT_TRUE(db.Run("INSERT INTO t(a) VALUES(2)").ok());
                  absl::StatusOr<ReadPool::Lease> reader = pool.Take();
                  EXPECT_EQ(Count(**reader), 1);
                  return absl::OkStatus();
                }).ok());
  absl::StatusOr<ReadPool::Lease> reader = pool.Take();
  EXPECT_EQ(Count(**reader), 2);
  EXPECT_EQ((*reader)->Run("INSERT INTO t(a) VALUES(3)").code(),
            absl::StatusCode::kPermissionDenied);
}

TEST_F(SqliteTest, ALockKeepsOthersOutAndNamesItsHolder) {
  absl::StatusOr<FileLock> first = FileLock::Take(folder_ / "lock");
  ASSERT_TRUE(first.ok()) << first.status();
  const absl::Status second = FileLock::Take(folder_ / "lock").status();
  EXPECT_EQ(second.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(second.message(), HasSubstr("in use by process " + std::to_string(::getpid())));
}

}  // namespace
}  // namespace corpgrid::sqlite
