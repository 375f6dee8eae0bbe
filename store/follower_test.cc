#include "store/follower.h"

#include <chrono>
#include <thread>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "store/changes.h"
#include "store/durable_grid.h"
#include "store/test_batches.h"
#include "store/testing/postgres_server.h"

namespace corpgrid::store {
namespace {

using ::testing::HasSubstr;

// All that a snapshot has, to be compared.
std::string Show(const core::Snapshot& snapshot) {
  core::WriteBatch rows;
  rows.meta = snapshot.meta;
  rows.join_tokens = snapshot.join_tokens;
  rows.devices = snapshot.devices;
  rows.reputations = snapshot.reputations;
  rows.projects = snapshot.projects;
  rows.models = snapshot.models;
  rows.jobs = snapshot.jobs;
  rows.shards = snapshot.shards;
  rows.attempts = snapshot.attempts;
  rows.results = snapshot.results;
  rows.checkpoints = snapshot.checkpoints;
  std::string text = EncodeChanges(rows);
  for (const core::FinishedJob& job : snapshot.finished) {
    text += fmt::format("{} {} {} {} {}\n", job.id.value, job.idempotency_key,
                        static_cast<int>(job.state), job.next_shard, job.finished_ms);
  }
  return text;
}

template <typename Condition>
void Await(const Condition& holds) {
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(60);
  bool held = false;
  while (!(held = holds()) && std::chrono::steady_clock::now() < end) {
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  ASSERT_TRUE(held);
}

class FollowerTest : public ::testing::Test {
 protected:
  FollowerTest() : url_(testing::PostgresServer::Shared().NewDatabase()) {
    leader_ = *OpenPostgres(url_);
    meta_ = leader_->Load()->meta;
    Commit(NumberedBatch(meta_, 1));
  }

  void Commit(core::WriteBatch batch) {
    batch.meta = meta_;
    batch.meta->batch = ++batches_;
    const absl::Status status = leader_->Commit(batch);
    ASSERT_TRUE(status.ok()) << status;
  }

  // Everything that may happen to rows: jobs begin and end, shards end, states are forgotten.
  void CommitOfEveryKind() {
    const uint64_t first = batches_ + 1;
    for (uint64_t n = first; n < first + 3; ++n) Commit(NumberedBatch(meta_, n));
    core::WriteBatch ended;
    ended.job_progress = {TestJob(first, core::JobState::kDone).progress};
    ended.devices = {TestDevice(2)};
    ended.join_tokens = {TestToken(3)};
    Commit(ended);
    core::WriteBatch decided;
    decided.shards = {TestShard(first + 1, 0, core::ShardState::kDone)};
    decided.attempts = {TestAttempt((first + 1) * kShardsABatch, first + 1, 0, 1)};
    decided.forgotten_checkpoints = {{JobId{first + 1}, 0}};
    Commit(decided);
    // Of two that have ended one goes in part, the other is gone.
    core::WriteBatch removed;
    for (const uint64_t n : {first, first + 2}) {
      removed.job_progress.push_back(
          {.id = {n}, .state = core::JobState::kRemoved, .next_shard = kShardsABatch});
    }
    Commit(removed);
    core::WriteBatch deleted;
    deleted.job_progress = {{.id = {first}, .state = core::JobState::kRemoved, .next_shard = 5}};
    deleted.forgotten_shards = {{.job = {first}, .first = 5, .last = kShardsABatch - 1},
                                {.job = {first + 2}, .first = 0, .last = kShardsABatch - 1}};
    deleted.forgotten_jobs = {JobId{first + 2}};
    Commit(deleted);
  }

  // Somebody follows who never reads.
  void AddIdleFollower() {
    testing::PostgresServer::Sql(url_, "INSERT INTO followers VALUES (-1, 0, 9999999999999)");
  }

  int64_t Count(const std::string& table) { return testing::PostgresServer::Count(url_, table); }

  const std::string url_;
  std::unique_ptr<Store> leader_;
  core::MetaRow meta_;
  uint64_t batches_ = 0;
};

TEST_F(FollowerTest, HasWhatAStoreLoads) {
  Follower follower(url_, {});
  Await([&] { return follower.ready(); });
  AddIdleFollower();
  CommitOfEveryKind();
  EXPECT_GT(Count("changes"), 0);  // It follows, rather than to load again and again.
  const std::string loaded = Show(*leader_->Load());
  leader_.reset();
  auto next = *OpenPostgres(url_, &follower);
  EXPECT_EQ(Show(*next->Load()), loaded);
  EXPECT_TRUE(follower.ended());
  EXPECT_EQ(follower.TakeOver().status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(Show(*next->Load()), loaded);  // the second time from the database
}

TEST_F(FollowerTest, ChangesAreKeptWhileSomebodyFollows) {
  CommitOfEveryKind();
  EXPECT_EQ(Count("changes"), 0);
  {
    Follower follower(url_, {});
    Await([&] { return follower.ready(); });
    AddIdleFollower();
    CommitOfEveryKind();
    EXPECT_EQ(Count("changes"), 7);
    testing::PostgresServer::Sql(url_, "DELETE FROM followers WHERE number = -1");
    Await([&] {
      Commit({});
      return Count("changes") < 5;  // The other one has read them.
    });
    EXPECT_EQ(Count("followers"), 1);
  }
  EXPECT_EQ(Count("followers"), 0);
  Await([&] {
    Commit({});
    return Count("changes") == 0;
  });
}

TEST_F(FollowerTest, WhatIsMissingIsReadAnew) {
  Follower follower(url_, {});
  Await([&] { return follower.ready(); });
  testing::PostgresServer::Sql(url_,
                               "CREATE FUNCTION lose() RETURNS trigger LANGUAGE plpgsql AS "
                               "'BEGIN RETURN NULL; END';"
                               "CREATE TRIGGER lose BEFORE INSERT ON changes FOR EACH ROW "
                               "EXECUTE FUNCTION lose()");
  CommitOfEveryKind();
  testing::PostgresServer::Sql(url_, "DROP TRIGGER lose ON changes");
  Await([&] { return !follower.ready(); });
  Await([&] { return follower.ready(); });
  CommitOfEveryKind();
  const std::string loaded = Show(*leader_->Load());
  leader_.reset();
  EXPECT_EQ(Show(*follower.TakeOver()), loaded);
}

TEST_F(FollowerTest, AStoreThatWasNotReadYetIsLoaded) {
  CommitOfEveryKind();
  const std::string loaded = Show(*leader_->Load());
  leader_.reset();
  Follower follower(url_, {});
  EXPECT_EQ(Show(*(*OpenPostgres(url_, &follower))->Load()), loaded);
}

class SetClock final : public Clock {
 public:
  int64_t MonotonicMs() const override { return now_ms; }
  int64_t WallMs() const override { return 0; }
  int64_t now_ms = 1;
};

// A store with rows that a grid has made, whose leader is gone.
class BuiltAheadTest : public ::testing::Test {
 protected:
  BuiltAheadTest() : url_(testing::PostgresServer::Shared().NewDatabase()) { CreateToken(1); }

  // As a scheduler that starts, and ends in order.
  void CreateToken(uint64_t number, Follower* follower = nullptr) {
    store_ = *OpenPostgres(url_, follower);
    grid_ = *DurableGrid::Load({}, store_.get(), &clock_, [] { return std::array<uint8_t, 32>{}; });
    loaded_ms_ = grid_->grid().meta().time_ms;
    clock_.now_ms += 5'000;
    grid_->Apply({core::CreateJoinToken{TestToken(number)}});
    EXPECT_TRUE(grid_->Commit().ok());
    committed_ms_ = grid_->grid().meta().time_ms;
    tokens_ = store_->Load()->join_tokens.size();
    store_.reset();  // The lead is given up: the lease is as old as can be.
  }

  const std::string url_;
  SetClock clock_;
  std::unique_ptr<Store> store_;
  std::unique_ptr<DurableGrid> grid_;
  int64_t loaded_ms_ = 0, committed_ms_ = 0;
  size_t tokens_ = 0;
};

TEST_F(BuiltAheadTest, TheGridIsTakenAtTheTimeThatWasCommitted) {
  Follower follower(url_, {});
  Await([&] { return follower.has_built(); });
  const int64_t committed_ms = committed_ms_;
  clock_.now_ms = 77;  // another machine's
  CreateToken(2, &follower);
  EXPECT_TRUE(follower.ended());
  EXPECT_EQ(loaded_ms_, committed_ms) << "grid time stands while nobody leads";
  EXPECT_EQ(committed_ms_, committed_ms + 5'000);
  EXPECT_EQ(tokens_, 2u);
}

// Found by ./dev bench takeover: who took the lead saw a young lease, its own, and forgot the grid.
TEST_F(BuiltAheadTest, ItsOwnLeaseIsNoReasonToForgetTheGrid) {
  Follower follower(url_, {});
  Await([&] { return follower.has_built(); });
  store_ = *OpenPostgres(url_, &follower);
  std::this_thread::sleep_for(std::chrono::milliseconds(500));  // some looks at the lease
  EXPECT_NE(*store_->LoadBuilt(), nullptr);
}

TEST_F(BuiltAheadTest, WhatIsOlderThanTheLastCommitIsNotTaken) {
  Follower follower(url_, {});
  Await([&] { return follower.has_built(); });
  CreateToken(2);
  CreateToken(3, &follower);
  EXPECT_EQ(tokens_, 3u);
}

TEST_F(BuiltAheadTest, WhatCannotBeBuiltIsFollowedAllTheSame) {
  store_ = *OpenPostgres(url_);
  core::WriteBatch batch = NumberedBatch(store_->Load()->meta, 1);  // of specs that are none
  batch.meta = store_->Load()->meta;
  ++batch.meta->batch;
  ASSERT_TRUE(store_->Commit(batch).ok());
  store_.reset();
  Follower follower(url_, {});
  Await([&] { return follower.ready(); });
  EXPECT_FALSE(follower.has_built());
  EXPECT_TRUE(follower.TakeOver().ok());
}

TEST(ChangesTest, OtherBytesAreRefused) {
  core::WriteBatch batch = NumberedBatch({.grid_id = "grid"}, 1);
  const std::string bytes = EncodeChanges(batch);
  ASSERT_TRUE(DecodeChanges(bytes).ok());
  EXPECT_EQ(EncodeChanges(*DecodeChanges(bytes)), bytes);
  EXPECT_FALSE(DecodeChanges(bytes.substr(0, bytes.size() - 1)).ok());
  std::string newer = bytes;
  constexpr size_t kVersionAt = 4 + std::string_view("corpgrid changes").size() + 4;
  ++newer[kVersionAt];
  EXPECT_THAT(DecodeChanges(newer).status().message(), HasSubstr("version"));
}

}  // namespace
}  // namespace corpgrid::store
