#pragma once

#include <atomic>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "store/follower.h"
#include "store/postgres.h"
#include "store/schema.h"
#include "store/sql_store.h"

namespace corpgrid::store {

// As ReadAppliedSteps.
absl::StatusOr<std::vector<AppliedStep>> AppliedSteps(postgres::Connection& db);

// Makes those of `migrations` that the database lacks, each in a transaction of its own. Errors:
// those of ReadAppliedSteps and MissingSteps (store/schema.h).
absl::Status Migrate(postgres::Connection& db, std::span<const Migration> migrations);

// The leader's store on a PostgreSQL server (store/leader.h). A commit is one round trip. A session
// that was lost is opened again by the next call, unless another scheduler has taken over.
class PostgresStore final : public SqlStore {
 public:
  // `follower` as for store::Open. Migrates once it leads.
  static absl::StatusOr<std::unique_ptr<PostgresStore>> Open(const std::string& url,
                                                             Follower* follower);
  ~PostgresStore() override;

  absl::StatusOr<core::Snapshot> Load() override;
  absl::StatusOr<std::unique_ptr<core::Grid>> LoadBuilt() override;
  absl::Status Standing() const override;
  int64_t Term() const override { return term_; }

 private:
  PostgresStore(const std::string& url, postgres::Connection db, int64_t token,
                int64_t lease_end_ms)
      : url_(url),
        term_(token),
        db_(std::move(db)),
        readers_(url),
        token_(token),
        lease_end_ms_(lease_end_ms) {}

  absl::Status Ask(std::string_view sql, std::span<const int64_t> numbers,
                   const OnRow& on_row) override;
  absl::Status AskReader(std::string_view sql, std::span<const int64_t> numbers,
                         const OnRow& on_row) const override;
  absl::Status Write(const core::WriteBatch& batch) override;

  absl::Status Reconnect();
  // Runs the statements in one transaction with the proof that this store leads.
  absl::Status RunLeading(std::vector<postgres::Statement> statements);
  void AddChanges(const core::WriteBatch& batch, std::vector<postgres::Statement>* statements);
  void RenewUntilClosed();
  void RenewOnce(std::optional<postgres::Connection>* session);
  void LookForFollowers(postgres::Connection& session);
  absl::Status Depose(const std::string& name);
  // What was begun at `start_ms` has shown the token.
  void Renewed(int64_t start_ms);

  const std::string url_;
  const int64_t term_;
  postgres::Connection db_;  // of the thread that commits
  mutable postgres::ReadPool readers_;
  Follower* follower_ = nullptr;       // until the first Load
  std::atomic<bool> followed_{false};  // so what a commit changes is written down
  bool was_followed_ = true;  // when changes were deleted last; before that it may have been
  int64_t pruned_ms_ = 0;

  absl::Mutex token_mutex_;  // held while a token is shown by the renewing thread, or raised
  int64_t token_ ABSL_GUARDED_BY(token_mutex_);

  mutable absl::Mutex mutex_ ABSL_ACQUIRED_AFTER(token_mutex_);
  absl::Status deposed_ ABSL_GUARDED_BY(mutex_);  // OK while nobody is known to have taken over
  int64_t lease_end_ms_ ABSL_GUARDED_BY(mutex_);
  bool closing_ ABSL_GUARDED_BY(mutex_) = false;
  std::thread renewer_;
};

}  // namespace corpgrid::store
