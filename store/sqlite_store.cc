#include "store/sqlite_store.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "base/status_macros.h"
#include "crypto/hex.h"
#include "crypto/signature.h"
#include "fmt/format.h"
#include "store/rows.h"

namespace corpgrid::store {
namespace {

using sqlite::Database;
using sqlite::Query;

constexpr std::string_view kUnfinished = "p.state <= 1";  // queued or running
static_assert(static_cast<int>(core::JobState::kRunning) == 1);
static_assert(static_cast<int>(core::ShardState::kRunning) == 0);  // the partial index's

template <typename... Values>
absl::StatusOr<int64_t> OneNumber(Database& db, std::string_view sql, const Values&... values) {
  ASSIGN_OR_RETURN(Query query, db.Ask(sql, values...));
  RETURN_IF_ERROR(query.Next().status());
  return query.Int(0);
}

template <typename Row, typename... Values>
absl::Status ReadRows(Database& db, std::vector<Row>* rows, const std::string& sql,
                      const Values&... values) {
  ASSIGN_OR_RETURN(Query query, db.Ask(sql, values...));
  for (;;) {
    ASSIGN_OR_RETURN(const bool more, query.Next());
    if (!more) return absl::OkStatus();
    RETURN_IF_ERROR(Read(query, &rows->emplace_back()));
  }
}

template <typename Row>
absl::Status WriteRows(Database& db, const std::vector<Row>& rows) {
  for (const Row& row : rows) RETURN_IF_ERROR(Write(db, row));
  return absl::OkStatus();
}

int64_t AsLimit(size_t limit) {
  return static_cast<int64_t>(
      std::min<uint64_t>(limit, static_cast<uint64_t>(std::numeric_limits<int64_t>::max())));
}

absl::StatusOr<AttemptRecord> ReadRecord(const Query& query) {
  AttemptRecord record;
  RETURN_IF_ERROR(Read(query, &record.attempt));
  if (!query.IsNull(kAttemptColumnCount)) {
    RETURN_IF_ERROR(Read(query, &record.result.emplace(), kAttemptColumnCount));
  }
  return record;
}

absl::StatusOr<int64_t> VersionOf(Database& db) {
  ASSIGN_OR_RETURN(
      const int64_t known,
      OneNumber(db, "SELECT COUNT(*) FROM sqlite_master WHERE name = ?", "schema_version"));
  if (known > 0) return OneNumber(db, "SELECT MAX(version) FROM schema_version");
  ASSIGN_OR_RETURN(const int64_t tables, OneNumber(db, "SELECT COUNT(*) FROM sqlite_master"));
  if (tables == 0) return 0;
  return absl::FailedPreconditionError("the file is another program's SQLite database");
}

}  // namespace

absl::Status Migrate(Database& db, std::span<const Migration> migrations) {
  ASSIGN_OR_RETURN(const int64_t version, VersionOf(db));
  if (version > migrations.back().version) {
    return absl::FailedPreconditionError(
        fmt::format("the store's schema has version {}, this program knows up to {}: use a newer "
                    "program",
                    version, migrations.back().version));
  }
  for (const Migration& migration : migrations) {
    if (migration.version <= version) continue;
    RETURN_IF_ERROR(db.Transaction([&]() -> absl::Status {
      RETURN_IF_ERROR(
          db.RunScript("CREATE TABLE IF NOT EXISTS schema_version (version BIGINT PRIMARY KEY)"));
      RETURN_IF_ERROR(db.RunScript(std::string(migration.sql)));
      return db.Run("INSERT INTO schema_version(version) VALUES(?)", migration.version);
    }));
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

absl::Status SqliteStore::ReadGridId() {
  const core::MetaRow fresh;
  RETURN_IF_ERROR(
      db_.Run("INSERT INTO meta(id, grid_id, batch, time_ms, next_device, next_job, next_attempt) "
              "VALUES(1, ?, ?, ?, ?, ?, ?) ON CONFLICT(id) DO NOTHING",
              crypto::ToHex(crypto::RandomBytes(16)), fresh.batch, fresh.time_ms, fresh.next_device,
              fresh.next_job, fresh.next_attempt));
  ASSIGN_OR_RETURN(Query query, db_.Ask("SELECT grid_id FROM meta"));
  RETURN_IF_ERROR(query.Next().status());
  grid_id_ = query.Bytes(0);
  return absl::OkStatus();
}

absl::StatusOr<core::Snapshot> SqliteStore::Load() {
  core::Snapshot snapshot;
  std::vector<core::MetaRow> meta;
  RETURN_IF_ERROR(ReadRows(db_, &meta, fmt::format("SELECT {} FROM meta", kMetaColumns)));
  if (meta.size() != 1) return absl::DataLossError("the store has lost its meta row");
  snapshot.meta = std::move(meta[0]);
  RETURN_IF_ERROR(
      ReadRows(db_, &snapshot.join_tokens,
               fmt::format("SELECT {} FROM join_tokens ORDER BY secret_hash", kTokenColumns)));
  RETURN_IF_ERROR(ReadRows(db_, &snapshot.devices,
                           fmt::format("SELECT {} FROM devices ORDER BY id", kDeviceColumns)));
  RETURN_IF_ERROR(ReadRows(
      db_, &snapshot.reputations,
      fmt::format("SELECT {} FROM device_reputation ORDER BY device_id", kReputationColumns)));
  RETURN_IF_ERROR(ReadRows(db_, &snapshot.jobs,
                           fmt::format("SELECT {} FROM jobs JOIN job_progress p ON p.job_id = id "
                                       "WHERE {} ORDER BY id",
                                       kJobColumns, kUnfinished)));
  const std::string running = "FROM job_shards s JOIN job_progress p ON p.job_id = s.job_id";
  const std::string where = fmt::format("WHERE s.state = 0 AND {}", kUnfinished);
  // CROSS JOIN keeps SQLite from starting at the attempts, of which there may be millions.
  constexpr std::string_view kOfShards =
      "CROSS JOIN job_attempts a ON a.job_id = s.job_id AND a.shard = s.shard";
  RETURN_IF_ERROR(ReadRows(
      db_, &snapshot.shards,
      fmt::format("SELECT {} {} {} ORDER BY s.job_id, s.shard", kShardColumns, running, where)));
  RETURN_IF_ERROR(ReadRows(
      db_, &snapshot.attempts,
      fmt::format("SELECT {} {} {} {} ORDER BY a.id", kAttemptColumns, running, kOfShards, where)));
  RETURN_IF_ERROR(
      ReadRows(db_, &snapshot.results,
               fmt::format("SELECT {} {} {} CROSS JOIN shard_results r ON r.attempt_id = a.id {} "
                           "ORDER BY a.id",
                           kResultColumns, running, kOfShards, where)));
  RETURN_IF_ERROR(ReadRows(db_, &snapshot.checkpoints,
                           fmt::format("SELECT {} FROM checkpoints ORDER BY job_id, shard, holder",
                                       kCheckpointColumns)));
  ASSIGN_OR_RETURN(Query keys,
                   db_.Ask(fmt::format("SELECT idempotency_key, id FROM jobs JOIN job_progress p "
                                       "ON p.job_id = id WHERE NOT {} ORDER BY id",
                                       kUnfinished)));
  for (;;) {
    ASSIGN_OR_RETURN(const bool more, keys.Next());
    if (!more) return snapshot;
    snapshot.finished_keys.emplace_back(keys.Bytes(0), JobId{static_cast<uint64_t>(keys.Int(1))});
  }
}

absl::Status SqliteStore::Commit(const core::WriteBatch& batch) {
  if (batch.empty()) return absl::OkStatus();
  if (batch.meta && batch.meta->grid_id != grid_id_) {
    return absl::InvalidArgumentError(
        fmt::format("a batch of grid {} for the store of grid {}", batch.meta->grid_id, grid_id_));
  }
  // Parents before their children.
  return db_.Transaction([&]() -> absl::Status {
    if (batch.meta) RETURN_IF_ERROR(Write(db_, *batch.meta));
    RETURN_IF_ERROR(WriteRows(db_, batch.join_tokens));
    RETURN_IF_ERROR(WriteRows(db_, batch.devices));
    RETURN_IF_ERROR(WriteRows(db_, batch.reputations));
    RETURN_IF_ERROR(WriteRows(db_, batch.jobs));
    RETURN_IF_ERROR(WriteRows(db_, batch.job_progress));
    RETURN_IF_ERROR(WriteRows(db_, batch.shards));
    RETURN_IF_ERROR(WriteRows(db_, batch.attempts));
    RETURN_IF_ERROR(WriteRows(db_, batch.results));
    RETURN_IF_ERROR(WriteRows(db_, batch.checkpoints));
    for (const ShardId& shard : batch.forgotten_checkpoints) {
      RETURN_IF_ERROR(db_.Run("DELETE FROM checkpoints WHERE job_id = ? AND shard = ?",
                              shard.job.value, shard.index));
    }
    return absl::OkStatus();
  });
}

absl::StatusOr<std::vector<core::JobRow>> SqliteStore::Jobs(JobId before, size_t limit) const {
  const int64_t bound =
      before ? static_cast<int64_t>(before.value) : std::numeric_limits<int64_t>::max();
  std::vector<core::JobRow> jobs;
  ASSIGN_OR_RETURN(auto db, readers_.Take());
  RETURN_IF_ERROR(ReadRows(*db, &jobs,
                           fmt::format("SELECT {} FROM jobs JOIN job_progress ON job_id = id "
                                       "WHERE id < ? ORDER BY id DESC LIMIT ?",
                                       kJobColumns),
                           bound, AsLimit(limit)));
  return jobs;
}

absl::StatusOr<core::JobRow> SqliteStore::Job(JobId id) const {
  std::vector<core::JobRow> jobs;
  ASSIGN_OR_RETURN(auto db, readers_.Take());
  RETURN_IF_ERROR(ReadRows(
      *db, &jobs,
      fmt::format("SELECT {} FROM jobs JOIN job_progress ON job_id = id WHERE id = ?", kJobColumns),
      id.value));
  if (jobs.empty()) return absl::NotFoundError(fmt::format("there is no job {}", id.value));
  return std::move(jobs[0]);
}

absl::StatusOr<std::vector<core::ShardRow>> SqliteStore::Shards(JobId job, uint32_t first,
                                                                size_t limit) const {
  std::vector<core::ShardRow> shards;
  ASSIGN_OR_RETURN(auto db, readers_.Take());
  RETURN_IF_ERROR(ReadRows(*db, &shards,
                           fmt::format("SELECT {} FROM job_shards s WHERE s.job_id = ? AND "
                                       "s.shard >= ? ORDER BY s.shard LIMIT ?",
                                       kShardColumns),
                           job.value, first, AsLimit(limit)));
  return shards;
}

absl::StatusOr<std::vector<AttemptRecord>> SqliteStore::Attempts(JobId job, uint32_t first,
                                                                 uint32_t last) const {
  std::vector<AttemptRecord> records;
  ASSIGN_OR_RETURN(auto db, readers_.Take());
  ASSIGN_OR_RETURN(Query query,
                   db->Ask(fmt::format("SELECT {}, {} FROM job_attempts a "
                                       "LEFT JOIN shard_results r ON r.attempt_id = a.id "
                                       "WHERE a.job_id = ? AND a.shard BETWEEN ? AND ? "
                                       "ORDER BY a.shard, a.id",
                                       kAttemptColumns, kResultColumnsWithoutTails),
                           job.value, first, last));
  for (;;) {
    ASSIGN_OR_RETURN(const bool more, query.Next());
    if (!more) return records;
    ASSIGN_OR_RETURN(AttemptRecord record, ReadRecord(query));
    records.push_back(std::move(record));
  }
}

absl::StatusOr<AttemptRecord> SqliteStore::Attempt(AttemptId id) const {
  ASSIGN_OR_RETURN(auto db, readers_.Take());
  ASSIGN_OR_RETURN(Query query,
                   db->Ask(fmt::format("SELECT {}, {} FROM job_attempts a "
                                       "LEFT JOIN shard_results r ON r.attempt_id = a.id "
                                       "WHERE a.id = ?",
                                       kAttemptColumns, kResultColumns),
                           id.value));
  ASSIGN_OR_RETURN(const bool found, query.Next());
  if (!found) return absl::NotFoundError(fmt::format("there is no attempt {}", id.value));
  return ReadRecord(query);
}

absl::StatusOr<std::unique_ptr<Store>> OpenSqlite(const std::string& path) {
  return SqliteStore::Open(path);
}

}  // namespace corpgrid::store
