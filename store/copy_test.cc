#include "store/copy.h"

#include "base/sqlite.h"
#include "base/testing/temp_folder.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "store/store.h"
#include "store/test_batches.h"
#include "store/testing/postgres_server.h"

namespace corpgrid::store {
namespace {

using ::testing::HasSubstr;

constexpr uint64_t kBatches = 60;  // more rows than one commit of the copy takes
constexpr std::array kHolders = {"b", "Ä", "", "B", "\xff"};  // databases sort them differently

class CopyTest : public ::testing::Test {
 protected:
  void SetUp() override {
    auto store = *OpenSqlite(from_);
    const core::MetaRow meta = store->Load()->meta;
    grid_id_ = meta.grid_id;
    for (uint64_t n = 1; n <= kBatches; ++n) {
      core::WriteBatch batch = NumberedBatch(meta, n);
      batch.join_tokens = {TestToken(static_cast<uint32_t>(n))};
      batch.shards[0].error = std::string("no\0text\xff", 8);
      for (size_t i = 0; i < kHolders.size(); ++i) {
        batch.checkpoints[i].shard = batch.checkpoints[0].shard;
        batch.checkpoints[i].holder = kHolders.at(i);
      }
      ASSERT_TRUE(store->Commit(batch).ok());
    }
  }

  absl::StatusOr<CopyReport> CopyTo(const std::string& to) {
    return Copy(from_, to, [this](uint64_t done, uint64_t total) {
      done_ = done;
      total_ = total;
    });
  }

  corpgrid::testing::TempFolder folder_;
  const std::string from_ = folder_ / "from.db";
  std::string grid_id_;
  uint64_t done_ = 0;
  uint64_t total_ = 0;
};

TEST_F(CopyTest, ThereAndBackAgain) {
  const std::string url = testing::PostgresServer::Shared().NewDatabase();
  const absl::StatusOr<CopyReport> there = CopyTo(url);
  ASSERT_TRUE(there.ok()) << there.status();
  EXPECT_EQ(there->grid_id, grid_id_);
  EXPECT_EQ(done_, total_);
  EXPECT_GT(total_, 2 * 3 * kBatches * kShardsABatch);
  {
    auto store = OpenPostgres(url);
    ASSERT_TRUE(store.ok()) << store.status();
    ExpectWholeBatches(**store, kBatches);
    const core::MetaRow meta = (*store)->Load()->meta;
    EXPECT_EQ(meta.grid_id, grid_id_);
    EXPECT_TRUE((*store)->Commit(NumberedBatch(meta, kBatches + 1)).ok());
  }
  const absl::StatusOr<CopyReport> back = Copy(url, folder_ / "back.db", [](uint64_t, uint64_t) {});
  ASSERT_TRUE(back.ok()) << back.status();
  EXPECT_NE(back->digest, there->digest);
  ExpectWholeBatches(**OpenSqlite(folder_ / "back.db"), kBatches + 1);
}

TEST_F(CopyTest, WhatIsNotEmptyOrInUseOrMissingIsLeftAlone) {
  const std::string other = folder_ / "other.db";
  {
    auto store = *OpenSqlite(other);
    ASSERT_TRUE(store->Commit(NumberedBatch(store->Load()->meta, 1)).ok());
    EXPECT_EQ(CopyTo(other).status().code(), absl::StatusCode::kFailedPrecondition) << "in use";
  }
  const absl::Status full = CopyTo(other).status();
  EXPECT_EQ(full.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(full.message(), HasSubstr("not empty"));
  ExpectWholeBatches(**OpenSqlite(other), 1);
  const absl::Status missing = Copy(folder_ / "none.db", folder_ / "to.db", nullptr).status();
  EXPECT_EQ(missing.code(), absl::StatusCode::kNotFound);
  const auto running = *OpenSqlite(from_);
  EXPECT_EQ(CopyTo(folder_ / "to.db").status().code(), absl::StatusCode::kFailedPrecondition);
}

// The target changes what it is given, as a damaged disk or another program would.
TEST_F(CopyTest, ACopyThatDiffersIsSaidAndCannotBeOpened) {
  const std::string to = folder_ / "to.db";
  {
    ASSERT_TRUE(OpenSqlite(to).ok());
  }
  ASSERT_TRUE(sqlite::Database::Open(to)
                  ->RunScript("CREATE TRIGGER liar AFTER INSERT ON shard_results BEGIN "
                              "UPDATE shard_results SET cpu_ms = cpu_ms + 1 "
                              "WHERE attempt_id = new.attempt_id; END")
                  .ok());
  EXPECT_EQ(CopyTo(to).status().code(), absl::StatusCode::kDataLoss);
  const absl::Status status = OpenSqlite(to).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(status.message(), HasSubstr("did not finish"));
}

}  // namespace
}  // namespace corpgrid::store
