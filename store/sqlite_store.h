#pragma once

#include <memory>
#include <span>
#include <string>

#include "base/file.h"
#include "base/sqlite.h"
#include "store/schema.h"
#include "store/sql_store.h"

namespace corpgrid::store {

// Makes those of `migrations` that `db` lacks, each in a transaction of its own. Errors: those of
// ReadAppliedSteps and MissingSteps (store/schema.h).
absl::Status Migrate(sqlite::Database& db, std::span<const Migration> migrations);

class SqliteStore final : public SqlStore {
 public:
  static absl::StatusOr<std::unique_ptr<SqliteStore>> Open(const std::string& path);

 private:
  SqliteStore(FileLock lock, sqlite::Database db, const std::string& path)
      : lock_(std::move(lock)), db_(std::move(db)), readers_(path) {}

  absl::Status Ask(std::string_view sql, std::span<const int64_t> numbers,
                   const OnRow& on_row) override;
  absl::Status AskReader(std::string_view sql, std::span<const int64_t> numbers,
                         const OnRow& on_row) const override;
  absl::Status Write(const core::WriteBatch& batch) override;
  absl::Status Delete(const core::WriteBatch& batch);

  const FileLock lock_;
  sqlite::Database db_;  // of the thread that commits
  mutable sqlite::ReadPool readers_;
};

}  // namespace corpgrid::store
