#pragma once

#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/file.h"
#include "base/sqlite.h"
#include "store/schema.h"
#include "store/store.h"

namespace corpgrid::store {

// Brings `db` to the newest of `migrations`, each step in a transaction of its own. Errors:
// FailedPrecondition when it is newer than all of them or some other program's.
absl::Status Migrate(sqlite::Database& db, std::span<const Migration> migrations);

class SqliteStore final : public Store {
 public:
  static absl::StatusOr<std::unique_ptr<SqliteStore>> Open(const std::string& path);

  absl::StatusOr<core::Snapshot> Load() override;
  absl::Status Commit(const core::WriteBatch& batch) override;
  absl::StatusOr<std::vector<core::JobRow>> Jobs(JobId before, size_t limit) const override;
  absl::StatusOr<core::JobRow> Job(JobId id) const override;
  absl::StatusOr<std::vector<core::ShardRow>> Shards(JobId job, uint32_t first,
                                                     size_t limit) const override;
  absl::StatusOr<std::vector<AttemptRecord>> Attempts(JobId job, uint32_t first,
                                                      uint32_t last) const override;
  absl::StatusOr<AttemptRecord> Attempt(AttemptId id) const override;

 private:
  SqliteStore(FileLock lock, sqlite::Database db, const std::string& path)
      : lock_(std::move(lock)), db_(std::move(db)), readers_(path) {}

  absl::Status ReadGridId();

  const FileLock lock_;
  sqlite::Database db_;  // of the thread that commits
  std::string grid_id_;
  mutable sqlite::ReadPool readers_;
};

}  // namespace corpgrid::store
