#include "store/sqlite_store.h"

#include <utility>

#include "base/status_macros.h"
#include "fmt/format.h"
#include "store/row_values.h"
#include "store/tables.h"

namespace corpgrid::store {
namespace {

using sqlite::Database;
using sqlite::Query;

class SqliteColumns final : public Columns {
 public:
  explicit SqliteColumns(const Query* query) : query_(query) {}
  bool IsNull(int column) const override { return query_->IsNull(column); }
  int64_t Int(int column) const override { return query_->Int(column); }
  std::string_view Bytes(int column) const override { return query_->Bytes(column); }

 private:
  const Query* const query_;
};

absl::Status ForEachRow(Database& db, std::string_view sql, std::span<const int64_t> numbers,
                        const OnRow& on_row) {
  ASSIGN_OR_RETURN(Query query, db.AskNumbers(sql, numbers));
  const SqliteColumns columns(&query);
  for (;;) {
    ASSIGN_OR_RETURN(const bool more, query.Next());
    if (!more) return absl::OkStatus();
    RETURN_IF_ERROR(on_row(columns));
  }
}

template <typename Row>
absl::Status WriteRows(Database& db, std::span<const Row> rows) {
  if (rows.empty()) return absl::OkStatus();
  static const std::string sql = [] {
    std::string places = "?";
    for (int i = 1; i < kTable<Row>.column_count(); ++i) places += ", ?";
    return UpsertSql(kTable<Row>, fmt::format("VALUES({})", places));
  }();
  ASSIGN_OR_RETURN(Query query, db.Prepare(sql));
  const auto write = [&](const auto&... values) { return query.Rerun(values...); };
  for (const Row& row : rows) RETURN_IF_ERROR(WithValues(row, write));
  return absl::OkStatus();
}

template <typename Row>
absl::Status WriteRows(Database& db, const std::vector<Row>& rows) {
  return WriteRows(db, std::span<const Row>(rows));
}

template <typename Row>
absl::Status WriteRow(Database& db, const Row& row) {
  return WriteRows(db, std::span<const Row>(&row, 1));
}

}  // namespace

absl::Status Migrate(Database& db, std::span<const Migration> migrations) {
  ASSIGN_OR_RETURN(const std::vector<AppliedStep> applied,
                   ReadAppliedSteps("SELECT name FROM sqlite_master",
                                    [&](std::string_view sql, const OnRow& on_row) {
                                      return ForEachRow(db, sql, {}, on_row);
                                    }));
  ASSIGN_OR_RETURN(const std::vector<Migration> missing, MissingSteps(migrations, applied));
  for (const Migration& step : missing) {
    RETURN_IF_ERROR(db.Transaction([&] { return db.RunScript(ScriptOf(step)); }));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<SqliteStore>> SqliteStore::Open(const std::string& path) {
  ASSIGN_OR_RETURN(FileLock lock, FileLock::Take(path + ".lock"));
  ASSIGN_OR_RETURN(Database db, Database::Open(path));
  if (absl::Status status = Migrate(db, Migrations()); !status.ok()) {
    return absl::Status(status.code(), fmt::format("{}: {}", path, std::string{status.message()}));
  }
  std::unique_ptr<SqliteStore> store(new SqliteStore(std::move(lock), std::move(db), path));
  RETURN_IF_ERROR(store->ReadGridId());
  return store;
}

absl::Status SqliteStore::Ask(std::string_view sql, std::span<const int64_t> numbers,
                              const OnRow& on_row) {
  return ForEachRow(db_, sql, numbers, on_row);
}

absl::Status SqliteStore::AskReader(std::string_view sql, std::span<const int64_t> numbers,
                                    const OnRow& on_row) const {
  ASSIGN_OR_RETURN(auto db, readers_.Take());
  return ForEachRow(*db, sql, numbers, on_row);
}

absl::Status SqliteStore::Write(const core::WriteBatch& batch) {
  return db_.Transaction([&]() -> absl::Status {
    if (batch.meta) RETURN_IF_ERROR(WriteRow(db_, *batch.meta));
    RETURN_IF_ERROR(WriteRows(db_, batch.join_tokens));
    RETURN_IF_ERROR(WriteRows(db_, batch.devices));
    RETURN_IF_ERROR(WriteRows(db_, batch.reputations));
    RETURN_IF_ERROR(WriteRows(db_, batch.projects));
    RETURN_IF_ERROR(WriteRows(db_, batch.models));
    for (const core::JobRow& job : batch.jobs) {
      RETURN_IF_ERROR(WriteRow(db_, job));
      RETURN_IF_ERROR(WriteRow(db_, ProgressOf(job)));
    }
    RETURN_IF_ERROR(WriteRows(db_, batch.job_progress));
    RETURN_IF_ERROR(WriteRows(db_, batch.shards));
    RETURN_IF_ERROR(WriteRows(db_, batch.attempts));
    RETURN_IF_ERROR(WriteRows(db_, batch.results));
    RETURN_IF_ERROR(WriteRows(db_, batch.checkpoints));
    for (const ShardId& shard : batch.forgotten_checkpoints) {
      RETURN_IF_ERROR(db_.Run("DELETE FROM checkpoints WHERE job_id = ? AND shard = ?",
                              shard.job.value, shard.index));
    }
    RETURN_IF_ERROR(WriteRows(db_, batch.audit));
    return Delete(batch);
  });
}

absl::Status SqliteStore::Delete(const core::WriteBatch& batch) {
  for (const core::ShardRange& range : batch.forgotten_shards) {
    for (const std::string_view sql : kDeleteShards) {
      RETURN_IF_ERROR(db_.Run(sql, range.job.value, range.first, range.last));
    }
  }
  for (const JobId job : batch.forgotten_jobs) {
    for (const std::string_view sql : kDeleteJob) RETURN_IF_ERROR(db_.Run(sql, job.value));
  }
  return absl::OkStatus();
}

}  // namespace corpgrid::store
