// Programs of several versions on one store.

#include "store/schema.h"

#include <thread>

#include "base/sqlite.h"
#include "base/testing/temp_folder.h"
#include "fmt/format.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "store/follower.h"
#include "store/leader.h"
#include "store/postgres_store.h"
#include "store/store.h"
#include "store/test_rows.h"
#include "store/testing/postgres_server.h"

namespace corpgrid::store {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

const std::vector<Migration> kSteps = {{.version = 1, .sql = "CREATE TABLE a(x BIGINT)"},
                                       {.version = 3, .sql = "CREATE TABLE c(x BIGINT)"},
                                       {.version = 4, .sql = "CREATE TABLE d(x BIGINT)"}};

std::vector<int64_t> Missing(const std::vector<AppliedStep>& applied) {
  std::vector<int64_t> versions;
  const std::vector<Migration> missing = *MissingSteps(kSteps, applied);
  for (const Migration& step : missing) versions.push_back(step.version);
  return versions;
}

TEST(MissingStepsTest, AStepThatWasMergedLateIsMade) {
  EXPECT_THAT(Missing({}), ElementsAre(1, 3, 4));
  EXPECT_THAT(Missing({{1}, {4}}), ElementsAre(3));
  EXPECT_THAT(Missing({{1}, {3}, {4}}), IsEmpty());
}

TEST(MissingStepsTest, AStoreThatDoesNotSuitThisProgramIsRefused) {
  for (const AppliedStep& step : {AppliedStep{5}, AppliedStep{2}, AppliedStep{6, 5}}) {
    const absl::Status status = MissingSteps(kSteps, std::vector{AppliedStep{1}, step}).status();
    EXPECT_TRUE(absl::IsFailedPrecondition(status));
    EXPECT_THAT(status.message(), HasSubstr(fmt::format("schema has version {}", step.version)));
    EXPECT_THAT(status.message(), HasSubstr("a newer program has used the store"));
  }
  EXPECT_THAT(Missing({{1}, {3}, {4}, {6, 4}, {7, 3}}), IsEmpty());
}

// Nobody's number may change, and nobody's SQL: what a step did is in the stores out there.
TEST(SchemaTest, StepsAreInOrder) {
  int64_t last = 0;
  for (const Migration& step : Migrations()) {
    EXPECT_GT(step.version, last);
    EXPECT_LT(step.oldest_reader, step.version);
    last = step.version;
  }
  EXPECT_EQ(SchemaVersion(), last);
}

class NewerStoreTest : public ::testing::TestWithParam<bool> {
 protected:
  std::string Name() {
    return GetParam() ? testing::PostgresServer::Shared().NewDatabase() : folder_ / "state.db";
  }
  static void Sql(const std::string& name, const std::string& script) {
    if (IsPostgresUrl(name)) return testing::PostgresServer::Sql(name, script);
    sqlite::Database db = *sqlite::Database::Open(name);
    const absl::Status status = db.RunScript(script);
    ASSERT_TRUE(status.ok()) << status;
  }
  const corpgrid::testing::TempFolder folder_;
};

TEST_P(NewerStoreTest, IsUsedWhereItsStepsSayThatTheySuit) {
  const std::string name = Name();
  ASSERT_TRUE(Open(name).ok());
  Sql(name, ScriptOf({.version = 1000,
                      .sql = "ALTER TABLE devices ADD COLUMN later BIGINT NOT NULL DEFAULT 7",
                      .oldest_reader = SchemaVersion()}));
  {
    const auto store = Open(name);
    ASSERT_TRUE(store.ok()) << store.status();
    core::WriteBatch batch;
    batch.devices = {TestDevice(1)};
    ASSERT_TRUE((*store)->Commit(batch).ok());
    EXPECT_THAT((*store)->Load()->devices, SizeIs(1));
  }
  Sql(name, ScriptOf({.version = 1001, .sql = "SELECT 1", .oldest_reader = 1000}));
  const absl::Status status = Open(name).status();
  EXPECT_TRUE(absl::IsFailedPrecondition(status));
  EXPECT_THAT(status.message(), HasSubstr("version 1001"));
}

INSTANTIATE_TEST_SUITE_P(Each, NewerStoreTest, ::testing::Bool(),
                         [](const auto& info) { return info.param ? "Postgres" : "Sqlite"; });

// A database that the program before made, and leads.
class OlderLeaderTest : public ::testing::Test {
 protected:
  OlderLeaderTest() : url_(testing::PostgresServer::Shared().NewDatabase()) {
    postgres::Connection db = *postgres::Connection::Open(url_);
    EXPECT_TRUE(Migrate(db, Migrations().first(Migrations().size() - 1)).ok());
    testing::PostgresServer::Sql(
        url_,
        "INSERT INTO meta VALUES(1, 'grid', 7, 8, 9, 10, 11, 0, '');"
        "INSERT INTO devices(id, public_key, name, owner, site, version, cpus, memory_bytes, "
        "vram_bytes, backends, network_allowed) "
        "VALUES(1, '', 'a', 'o', 's', 'v', 4, 5, 6, 1, 1)");
    Renew(60'000);
  }
  // The leader shows itself for so long.
  void Renew(int64_t ms) {
    testing::PostgresServer::Sql(
        url_, fmt::format("UPDATE leader SET renewed_ms = {} + {}", kNowMs, ms - kLeaseMs));
  }
  int64_t Newest() {
    postgres::Connection db = *postgres::Connection::Open(url_);
    const std::vector<AppliedStep> applied = *AppliedSteps(db);
    int64_t newest = 0;
    for (const AppliedStep& step : applied) newest = std::max(newest, step.version);
    return newest;
  }
  int64_t Count(const std::string& table) { return testing::PostgresServer::Count(url_, table); }
  const std::string url_;
};

TEST_F(OlderLeaderTest, ItsStoreIsMigratedWhenItLeadsNoMore) {
  EXPECT_EQ(OpenPostgres(url_).status().code(), absl::StatusCode::kAlreadyExists);
  EXPECT_LT(Newest(), SchemaVersion());
  Renew(0);
  const auto store = OpenPostgres(url_);
  ASSERT_TRUE(store.ok()) << store.status();
  EXPECT_EQ(Newest(), SchemaVersion());
  EXPECT_EQ((*store)->Load()->meta.grid_id, "grid");
  EXPECT_EQ((*store)->Load()->devices.at(0).protocol, 1u);
}

// A takeover by a program that cannot read the store would leave the grid without a scheduler.
TEST_F(OlderLeaderTest, AProgramThatTheStoreDoesNotSuitDoesNotTakeTheLead) {
  Renew(0);
  testing::PostgresServer::Sql(url_, "INSERT INTO schema_version VALUES(1000)");
  EXPECT_EQ(OpenPostgres(url_).status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(Count("leader WHERE token > 0"), 0);
}

TEST_F(OlderLeaderTest, ItIsNotFollowed) {
  Follower follower(url_, {});
  std::this_thread::sleep_for(std::chrono::milliseconds(500));
  EXPECT_FALSE(follower.ready());
  EXPECT_EQ(Count("followers"), 0);
  Renew(0);
  const auto store = OpenPostgres(url_, &follower);
  ASSERT_TRUE(store.ok()) << store.status();
  EXPECT_THAT((*store)->Load()->devices, SizeIs(1));
}

// A leader that suits the schema, but writes its changes down as of another version.
TEST(OtherLeaderTest, ChangesOfAnotherVersionAreNotFollowed) {
  const std::string url = testing::PostgresServer::Shared().NewDatabase();
  auto leader = *OpenPostgres(url);
  constexpr size_t kVersionAt = 4 + std::string_view("corpgrid changes").size() + 4;
  testing::PostgresServer::Sql(
      url, fmt::format("CREATE FUNCTION other() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN "
                       "NEW.rows := set_byte(NEW.rows, {0}, get_byte(NEW.rows, {0}) + 1); "
                       "RETURN NEW; END';"
                       "CREATE TRIGGER other BEFORE INSERT ON changes FOR EACH ROW "
                       "EXECUTE FUNCTION other()",
                       kVersionAt));
  Follower follower(url, {});
  const auto await = [&](const auto& holds) {
    for (int i = 0; i < 3000 && !holds(); ++i) {
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
    return holds();
  };
  ASSERT_TRUE(await([&] { return follower.ready(); }));
  core::WriteBatch batch;
  batch.meta = leader->Load()->meta;
  ++batch.meta->batch;
  batch.devices = {TestDevice(1)};
  ASSERT_TRUE(leader->Commit(batch).ok());
  ASSERT_TRUE(await([&] { return !follower.ready(); }));
  // Nothing is written down for it, nor is the state read again and again.
  EXPECT_TRUE(await([&] { return testing::PostgresServer::Count(url, "followers") == 0; }));
  std::this_thread::sleep_for(std::chrono::milliseconds(500));
  EXPECT_EQ(testing::PostgresServer::Count(url, "followers"), 0);
  leader.reset();
  const auto next = OpenPostgres(url, &follower);
  ASSERT_TRUE(next.ok()) << next.status();
  EXPECT_THAT((*next)->Load()->devices, SizeIs(1));
}

}  // namespace
}  // namespace corpgrid::store
