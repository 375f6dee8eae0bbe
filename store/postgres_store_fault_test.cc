#include <chrono>
#include <future>
#include <thread>

#include "base/testing/kill_child.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "store/leader.h"
#include "store/postgres_store.h"
#include "store/test_batches.h"
#include "store/testing/postgres_server.h"

namespace corpgrid::store {
namespace {

using ::testing::EndsWith;
using ::testing::HasSubstr;

constexpr auto kSoon = std::chrono::seconds(20);

// Takes the lead once the leader's lease has run out.
absl::StatusOr<std::unique_ptr<Store>> AwaitLead(const std::string& url) {
  const auto end = std::chrono::steady_clock::now() + kSoon;
  for (;;) {
    absl::StatusOr<std::unique_ptr<Store>> store = OpenPostgres(url);
    if (!absl::IsAlreadyExists(store.status()) || std::chrono::steady_clock::now() > end) {
      return store;
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
  }
}

class PostgresStoreFaultTest : public ::testing::Test {
 protected:
  void SetUp() override {
    store_ = *OpenPostgres(url_);
    meta_ = store_->Load()->meta;
    ASSERT_TRUE(store_->Commit(NumberedBatch(meta_, 1)).ok());
  }

  void Sql(const std::string& script) { testing::PostgresServer::Sql(url_, script); }

  int64_t Number(const std::string& sql) {
    postgres::Connection db = *postgres::Connection::Open(url_);
    int64_t number = -1;
    EXPECT_TRUE(db.Ask(sql, {}, [&](const Columns& columns) {
                    number = columns.Int(0);
                    return absl::OkStatus();
                  }).ok());
    return number;
  }

  // A commit of batch `n` that goes on meanwhile.
  std::future<absl::Status> CommitAside(uint64_t n) {
    return std::async(std::launch::async,
                      [this, n] { return store_->Commit(NumberedBatch(meta_, n)); });
  }

  // Waits until the leader's session waits for `event` in a transaction. False when the commit was
  // over before.
  bool Reaches(const std::string& event, const std::future<absl::Status>& commit) {
    while (commit.wait_for(std::chrono::milliseconds(5)) == std::future_status::timeout) {
      if (Number("SELECT COUNT(*) FROM pg_stat_activity a JOIN leader l ON a.pid = l.backend_pid "
                 "WHERE a.state = 'active' AND a.wait_event = '" +
                 event + "'") != 0) {
        return true;
      }
    }
    return false;
  }

  void KillLeadersSession() {
    Sql("SELECT pg_terminate_backend(backend_pid::int, 5000) FROM leader");
  }

  // Another leader's store, as if this one had slept until its lease was over; `changes` are made
  // to the leader row before.
  std::unique_ptr<Store> TakeOver(const std::string& changes = "") {
    for (;;) {
      Sql("UPDATE leader SET renewed_ms = 0" + changes);
      absl::StatusOr<std::unique_ptr<Store>> next = OpenPostgres(url_);
      if (absl::IsAlreadyExists(next.status())) continue;  // the lease was renewed in between
      EXPECT_TRUE(next.ok()) << next.status();
      return *std::move(next);
    }
  }

  testing::PostgresServer& server_ = testing::PostgresServer::Shared();
  const std::string url_ = server_.NewDatabase();
  std::unique_ptr<Store> store_;
  core::MetaRow meta_;
};

TEST_F(PostgresStoreFaultTest, AServerThatWasDownIsUsedAgain) {
  for (const int signal : {SIGINT, SIGQUIT}) {
    server_.Stop(signal);
    EXPECT_EQ(store_->Commit(NumberedBatch(meta_, 2)).code(), absl::StatusCode::kUnavailable);
    EXPECT_EQ(store_->Load().status().code(), absl::StatusCode::kUnavailable);
    EXPECT_EQ(store_->Job(JobId{1}).status().code(), absl::StatusCode::kUnavailable);
    EXPECT_FALSE(absl::IsAborted(store_->Standing()));
    server_.Start();
    ExpectWholeBatches(*store_, 1);
    EXPECT_TRUE(store_->Job(JobId{1}).ok());
  }
  ASSERT_TRUE(store_->Commit(NumberedBatch(meta_, 2)).ok());
  ExpectWholeBatches(*store_, 2);
}

TEST_F(PostgresStoreFaultTest, StoppedInTheMiddleOfACommitItHasAllOrNothing) {
  for (uint64_t n = 2; n < 6; ++n) {
    std::future<absl::Status> commit = CommitAside(n);
    std::this_thread::sleep_for(std::chrono::microseconds(500 * n));
    server_.Stop(SIGQUIT);
    const bool acknowledged = commit.get().ok();
    server_.Start();
    ExpectWholeBatches(*store_, acknowledged ? n : n - 1);
    if (store_->Load()->meta.batch < n) {
      ASSERT_TRUE(store_->Commit(NumberedBatch(meta_, n)).ok());
    }
  }
}

TEST_F(PostgresStoreFaultTest, KilledInsideATransactionNothingLanded) {
  postgres::Connection other = *postgres::Connection::Open(url_);
  ASSERT_TRUE(other.RunScript("BEGIN").ok());
  ASSERT_TRUE(other.RunScript("LOCK TABLE shard_results").ok());
  std::future<absl::Status> commit = CommitAside(2);
  ASSERT_TRUE(Reaches("relation", commit));
  KillLeadersSession();
  const absl::Status status = commit.get();
  EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable) << status;
  EXPECT_THAT(status.message(), HasSubstr("terminating connection"));
  ASSERT_TRUE(other.RunScript("ROLLBACK").ok());
  ExpectWholeBatches(*store_, 1);
  EXPECT_EQ(store_->Load()->meta.batch, 1u);
  ASSERT_TRUE(store_->Commit(NumberedBatch(meta_, 2)).ok());
  ExpectWholeBatches(*store_, 2);
}

// At COMMIT, before the transaction counts as committed.
TEST_F(PostgresStoreFaultTest, KilledInsideCommitNothingLanded) {
  Sql("CREATE FUNCTION dawdle() RETURNS trigger LANGUAGE plpgsql AS "
      "'BEGIN PERFORM pg_sleep(60); RETURN NULL; END'");
  Sql("CREATE CONSTRAINT TRIGGER slow AFTER INSERT ON jobs DEFERRABLE INITIALLY DEFERRED "
      "FOR EACH ROW EXECUTE FUNCTION dawdle()");
  std::future<absl::Status> commit = CommitAside(2);
  ASSERT_TRUE(Reaches("PgSleep", commit));
  KillLeadersSession();
  EXPECT_EQ(commit.get().code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(store_->Load()->meta.batch, 1u);
}

// At COMMIT, after it: a replica that never answers holds the acknowledgement back.
TEST_F(PostgresStoreFaultTest, KilledInsideCommitLoadTellsThatItLanded) {
  const auto set_replicas = [&](const std::string& names) {
    Sql("ALTER SYSTEM SET synchronous_standby_names = '" + names + "'");
    Sql("SELECT pg_reload_conf()");
  };
  postgres::Connection other = *postgres::Connection::Open(url_);
  set_replicas("nobody");
  // The server's processes hear of it in their own time: until then commits do not wait.
  uint64_t n = 2;
  std::future<absl::Status> commit = CommitAside(n);
  while (!Reaches("SyncRep", commit)) {
    ASSERT_TRUE(commit.get().ok());
    commit = CommitAside(++n);
  }
  // Not through KillLeadersSession: what writes would wait for the replica, too.
  ASSERT_TRUE(
      other.RunScript("SELECT pg_terminate_backend(backend_pid::int, 5000) FROM leader").ok());
  EXPECT_EQ(commit.get().code(), absl::StatusCode::kUnavailable);
  set_replicas("");
  ExpectWholeBatches(*store_, n);
}

TEST_F(PostgresStoreFaultTest, ADeposedLeadersCommitIsRefused) {
  const auto next = TakeOver();
  const absl::Status refused = store_->Commit(NumberedBatch(meta_, 2));
  EXPECT_EQ(refused.code(), absl::StatusCode::kAborted) << refused;
  EXPECT_THAT(refused.message(), HasSubstr("another scheduler leads"));
  EXPECT_EQ(store_->Load().status().code(), absl::StatusCode::kAborted);
  EXPECT_EQ(store_->Standing().code(), absl::StatusCode::kAborted);
  ExpectWholeBatches(*next, 1);
  ASSERT_TRUE(next->Commit(NumberedBatch(meta_, 2)).ok());
  store_.reset();  // does not give up what it no longer has
  EXPECT_EQ(OpenPostgres(url_).status().code(), absl::StatusCode::kAlreadyExists);
  ExpectWholeBatches(*next, 2);
}

TEST_F(PostgresStoreFaultTest, ADeposedLeaderWhoseSessionLivesIsRefusedByItsToken) {
  const auto next = TakeOver(", backend_pid = 0");  // so that nobody finds the session
  EXPECT_EQ(store_->Commit(NumberedBatch(meta_, 2)).code(), absl::StatusCode::kAborted);
  EXPECT_EQ(next->Load()->meta.batch, 1u);
}

TEST_F(PostgresStoreFaultTest, AnIdleDeposedLeaderHearsOfIt) {
  const auto next = TakeOver();
  const auto end = std::chrono::steady_clock::now() + kSoon;
  while (!absl::IsAborted(store_->Standing()) && std::chrono::steady_clock::now() < end) {
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
  EXPECT_EQ(store_->Standing().code(), absl::StatusCode::kAborted);
}

TEST_F(PostgresStoreFaultTest, WhoCannotShowThatItLeadsSaysSoUntilItCan) {
  const auto await = [&](absl::StatusCode code) {
    const auto end = std::chrono::steady_clock::now() + kSoon;
    while (store_->Standing().code() != code && std::chrono::steady_clock::now() < end) {
      std::this_thread::sleep_for(std::chrono::milliseconds(20));
    }
    return store_->Standing().code() == code;
  };
  EXPECT_TRUE(store_->Standing().ok());
  server_.Stop(SIGQUIT);
  EXPECT_TRUE(await(absl::StatusCode::kUnavailable));
  server_.Start();
  EXPECT_TRUE(await(absl::StatusCode::kOk));
}

// What was between the look at the lease and the taking of the lead.
TEST_F(PostgresStoreFaultTest, ALeadThatIsRenewedWhileItIsTakenStays) {
  postgres::Connection next = *postgres::Connection::Open(url_);
  postgres::Connection other = *postgres::Connection::Open(url_);
  const int64_t term = store_->Term();
  store_.reset();  // gives the lead up
  ASSERT_TRUE(other.RunScript("BEGIN").ok());
  ASSERT_TRUE(other.Run(std::vector{ShowToken(term)}).ok());
  std::future<absl::Status> taken =
      std::async(std::launch::async, [&] { return TakeLeadership(next, std::nullopt).status(); });
  EXPECT_EQ(taken.wait_for(std::chrono::milliseconds(300)), std::future_status::timeout);
  ASSERT_TRUE(other.RunScript("COMMIT").ok());
  EXPECT_EQ(taken.get().code(), absl::StatusCode::kAlreadyExists);
  EXPECT_EQ(Number("SELECT token FROM leader"), term);
}

TEST_F(PostgresStoreFaultTest, DeposedInTheMiddleOfATransactionNothingLands) {
  postgres::Connection other = *postgres::Connection::Open(url_);
  ASSERT_TRUE(other.RunScript("BEGIN").ok());
  ASSERT_TRUE(other.RunScript("LOCK TABLE shard_results IN SHARE MODE").ok());
  std::future<absl::Status> commit = CommitAside(2);
  ASSERT_TRUE(Reaches("relation", commit));
  auto next = AwaitLead(url_);
  ASSERT_TRUE(next.ok()) << next.status();
  EXPECT_FALSE(commit.get().ok());
  ASSERT_TRUE(other.RunScript("ROLLBACK").ok());
  EXPECT_EQ(store_->Load().status().code(), absl::StatusCode::kAborted);
  EXPECT_EQ((*next)->Load()->meta.batch, 1u);
  ExpectWholeBatches(**next, 1);
}

// Commits and says so until it is refused; the last line says how that went.
void LeadUntilRefused(const std::string& url, int ack) {
  auto store = OpenPostgres(url);
  if (!store.ok()) return;
  const core::MetaRow meta = (*store)->Load()->meta;
  for (uint64_t n = meta.batch + 1;; ++n) {
    const absl::Status status = (*store)->Commit(NumberedBatch(meta, n));
    if (status.ok()) {
      corpgrid::testing::WriteLine(ack, std::to_string(n));
      continue;
    }
    // Memory is read back after an error, as the daemon does it.
    const bool refused = absl::IsAborted((*store)->Load().status());
    return corpgrid::testing::WriteLine(ack, refused ? "refused" : "goes on");
  }
}

TEST(PostgresLeaderTest, OneThatSleptInACommitLosesNothingAndWritesNothingMore) {
  const std::string url = testing::PostgresServer::Shared().NewDatabase();
  for (int round = 0; round < 2; ++round) {
    int ack[2];
    ASSERT_EQ(::pipe(ack), 0);
    const pid_t child = ::fork();
    if (child == 0) {
      LeadUntilRefused(url, ack[1]);
      ::_exit(0);
    }
    ::close(ack[1]);
    std::string said;
    char buffer[4096];
    const auto hear = [&] {
      const ssize_t got = ::read(ack[0], buffer, sizeof(buffer));
      if (got > 0) said.append(buffer, static_cast<size_t>(got));
      return got > 0;
    };
    ASSERT_TRUE(hear()) << "it leads, and commits on";
    std::this_thread::sleep_for(std::chrono::milliseconds(100 + 3 * round));
    ::kill(child, SIGSTOP);
    auto next = AwaitLead(url);
    ASSERT_TRUE(next.ok()) << next.status();
    const core::MetaRow meta = (*next)->Load()->meta;
    ::kill(child, SIGCONT);
    ::waitpid(child, nullptr, 0);
    while (hear()) {
    }
    ::close(ack[0]);
    ASSERT_THAT(said, EndsWith("\nrefused\n"));
    said.resize(said.size() - std::string_view("\nrefused\n").size());
    const uint64_t acknowledged = std::stoull(said.substr(said.rfind('\n') + 1));
    EXPECT_EQ((*next)->Load()->meta.batch, meta.batch) << "the sleeper wrote";
    ExpectWholeBatches(**next, acknowledged);
    EXPECT_LE(meta.batch, acknowledged + 1);  // one may have landed before its answer was read
  }
}

}  // namespace
}  // namespace corpgrid::store
