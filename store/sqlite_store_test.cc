#include "store/sqlite_store.h"

#include <fstream>

#include "base/testing/temp_folder.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace corpgrid::store {
namespace {

using ::testing::HasSubstr;

class SqliteStoreTest : public ::testing::Test {
 protected:
  corpgrid::testing::TempFolder folder_;
};

TEST_F(SqliteStoreTest, OneProcessAtATime) {
  const auto first = OpenSqlite(folder_ / "state.db");
  ASSERT_TRUE(first.ok()) << first.status();
  const absl::Status status = OpenSqlite(folder_ / "state.db").status();
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(status.message(), HasSubstr("already in use by process"));
}

TEST_F(SqliteStoreTest, AnEmptyFileIsANewStore) {
  std::ofstream(folder_ / "empty.db").flush();
  EXPECT_TRUE((*OpenSqlite(folder_ / "empty.db"))->Load().ok());
}

TEST_F(SqliteStoreTest, AnOlderStoreIsMigratedStepByStepOrNotAtAll) {
  sqlite::Database db = *sqlite::Database::Open(folder_ / "older.db");
  const Migration first{.version = 1, .sql = "CREATE TABLE t(a BIGINT)"};
  const Migration second{.version = 2, .sql = "ALTER TABLE t ADD COLUMN b BIGINT"};
  const Migration broken{.version = 3, .sql = "ALTER TABLE t ADD COLUMN c BIGINT; nonsense"};
  ASSERT_TRUE(Migrate(db, std::vector<Migration>{first}).ok());
  ASSERT_TRUE(db.Run("INSERT INTO t(a) VALUES(5)").ok());
  ASSERT_TRUE(Migrate(db, std::vector<Migration>{first, second}).ok());
  ASSERT_TRUE(Migrate(db, std::vector<Migration>{first, second}).ok());
  EXPECT_TRUE(db.Run("UPDATE t SET b = 6 WHERE a = 5").ok());
  EXPECT_FALSE(Migrate(db, std::vector<Migration>{first, second, broken}).ok());
  EXPECT_FALSE(db.Run("UPDATE t SET c = 1").ok());
  EXPECT_EQ(Migrate(db, std::vector<Migration>{first}).code(),
            absl::StatusCode::kFailedPrecondition);
}

}  // namespace
}  // namespace corpgrid::store
