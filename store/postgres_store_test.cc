#include "store/postgres_store.h"

#include <chrono>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "store/leader.h"
#include "store/test_batches.h"
#include "store/testing/postgres_server.h"

namespace corpgrid::store {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

class PostgresStoreTest : public ::testing::Test {
 protected:
  testing::PostgresServer& server_ = testing::PostgresServer::Shared();
  const std::string url_ = server_.NewDatabase();
};

TEST_F(PostgresStoreTest, OneLeaderAtATime) {
  auto first = OpenPostgres(url_);
  ASSERT_TRUE(first.ok()) << first.status();
  const absl::Status second = OpenPostgres(url_).status();
  EXPECT_EQ(second.code(), absl::StatusCode::kAlreadyExists);
  EXPECT_THAT(second.message(), HasSubstr("another scheduler leads"));
  EXPECT_TRUE((*first)->Load().ok());
  first->reset();  // gives up the lead
  EXPECT_TRUE(OpenPostgres(url_).ok());
}

TEST_F(PostgresStoreTest, AnIdleLeaderKeepsItsLease) {
  const auto store = OpenPostgres(url_);
  ASSERT_TRUE(store.ok()) << store.status();
  std::this_thread::sleep_for(std::chrono::milliseconds(kLeaseMs + kRenewMs));
  EXPECT_EQ(OpenPostgres(url_).status().code(), absl::StatusCode::kAlreadyExists);
  EXPECT_TRUE((*store)->Standing().ok());
}

TEST_F(PostgresStoreTest, WhatCannotBeOpenedSaysWhyAndNoPassword) {
  const absl::Status unreadable = OpenPostgres("postgres://ada:secret@[::1/x").status();
  EXPECT_EQ(unreadable.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(unreadable.message(), Not(HasSubstr("secret")));
  const absl::Status nobody = OpenPostgres("postgres://ada:secret@127.0.0.1:1/x").status();
  EXPECT_EQ(nobody.code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(nobody.message(), HasSubstr("127.0.0.1"));
  EXPECT_THAT(nobody.message(), Not(HasSubstr("secret")));
  std::string missing = url_;
  missing.replace(missing.find("/grid"), 5, "/none");
  EXPECT_EQ(OpenPostgres(missing).status().code(), absl::StatusCode::kFailedPrecondition);
}

TEST_F(PostgresStoreTest, ADatabaseInAnotherEncodingIsRefused) {
  testing::PostgresServer::Sql(
      url_, "CREATE DATABASE latin ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0");
  std::string latin = url_;
  latin.replace(latin.find("/grid"), latin.find('?') - latin.find("/grid"), "/latin");
  const absl::Status status = OpenPostgres(latin).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(status.message(), HasSubstr("LATIN1"));
}

TEST_F(PostgresStoreTest, AnOlderStoreIsMigratedStepByStepOrNotAtAll) {
  postgres::Connection db = *postgres::Connection::Open(url_);
  const Migration first{.version = 1, .sql = "CREATE TABLE t(a BIGINT)"};
  const Migration second{.version = 2, .sql = "ALTER TABLE t ADD COLUMN b BIGINT"};
  const Migration broken{.version = 3, .sql = "ALTER TABLE t ADD COLUMN c BIGINT; nonsense"};
  ASSERT_TRUE(Migrate(db, std::vector<Migration>{first}).ok());
  ASSERT_TRUE(db.RunScript("INSERT INTO t(a) VALUES(5)").ok());
  ASSERT_TRUE(Migrate(db, std::vector<Migration>{first, second}).ok());
  ASSERT_TRUE(Migrate(db, std::vector<Migration>{first, second}).ok());
  EXPECT_TRUE(db.RunScript("UPDATE t SET b = 6 WHERE a = 5").ok());
  EXPECT_FALSE(Migrate(db, std::vector<Migration>{first, second, broken}).ok());
  EXPECT_FALSE(db.RunScript("UPDATE t SET c = 1").ok());
  EXPECT_EQ(Migrate(db, std::vector<Migration>{first}).code(),
            absl::StatusCode::kFailedPrecondition);
}

// One such device must not make everyone's commit fail.
TEST_F(PostgresStoreTest, WhatIsNoTextIsRepaired) {
  auto store = *OpenPostgres(url_);
  core::WriteBatch batch;
  batch.devices = {TestDevice(1), TestDevice(2)};
  batch.devices[0].name = std::string("a\0b\xff", 4) + "Zürich";
  batch.devices[1].name = "cut \xc3";
  const absl::Status status = store->Commit(batch);
  ASSERT_TRUE(status.ok()) << status;
  const core::Snapshot loaded = *store->Load();
  EXPECT_EQ(loaded.devices.at(0).name, "a\uFFFDb\uFFFDZürich");
  EXPECT_EQ(loaded.devices.at(1).name, "cut \uFFFD");
}

TEST_F(PostgresStoreTest, ACommitLargerThanTheSocketsBuffers) {
  auto store = *OpenPostgres(url_);
  core::WriteBatch batch;
  for (uint64_t n = 1; n <= 100; ++n) {
    batch.jobs.push_back(TestJob(n, core::JobState::kRunning));
    batch.jobs.back().spec = std::string(300'000, static_cast<char>(n));
  }
  ASSERT_TRUE(store->Commit(batch).ok());
  const core::Snapshot loaded = *store->Load();
  ASSERT_EQ(loaded.jobs.size(), 100u);
  EXPECT_EQ(loaded.jobs[99].spec, batch.jobs[99].spec);
}

}  // namespace
}  // namespace corpgrid::store
