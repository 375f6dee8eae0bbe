#include "base/sqlite.h"

#include <sqlite3.h>

#include <cerrno>
#include <system_error>
#include <utility>

#include "base/status_macros.h"
#include "fmt/format.h"

namespace corpgrid::sqlite {
namespace {

constexpr int kBusyTimeoutMs = 5000;  // someone may look at the file with the sqlite3 tool

absl::StatusCode CodeOf(int code, int system_error) {
  if (code == SQLITE_IOERR_SHORT_READ || code == SQLITE_IOERR_CORRUPTFS) {
    return absl::StatusCode::kDataLoss;
  }
  switch (code & 0xff) {
    case SQLITE_FULL:
    case SQLITE_NOMEM:
    case SQLITE_TOOBIG:
      return absl::StatusCode::kResourceExhausted;
    case SQLITE_IOERR:
    case SQLITE_CANTOPEN:
      return system_error == ENOSPC || system_error == EDQUOT ? absl::StatusCode::kResourceExhausted
                                                              : absl::StatusCode::kUnavailable;
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
      return absl::StatusCode::kDataLoss;
    case SQLITE_READONLY:
    case SQLITE_PERM:
    case SQLITE_AUTH:
      return absl::StatusCode::kPermissionDenied;
    case SQLITE_ERROR:
    case SQLITE_CONSTRAINT:
    case SQLITE_MISMATCH:
    case SQLITE_MISUSE:
    case SQLITE_RANGE:
      return absl::StatusCode::kInternal;
    default:
      return absl::StatusCode::kUnavailable;
  }
}

absl::Status Error(sqlite3* db, const std::string& path, int code) {
  const int system_error = db == nullptr ? 0 : sqlite3_system_errno(db);
  std::string message = fmt::format("{}: {}", path, sqlite3_errstr(code));
  if (db != nullptr && (code & 0xff) == (sqlite3_errcode(db) & 0xff)) {
    message = fmt::format("{}: {}", path, sqlite3_errmsg(db));
  }
  const int kind = code & 0xff;
  if ((kind == SQLITE_IOERR || kind == SQLITE_CANTOPEN) && system_error != 0) {
    message += fmt::format(" ({})", std::generic_category().message(system_error));
  }
  return absl::Status(CodeOf(code, system_error), message);
}

// SQLite would count its memory under one lock, at each allocation of any thread.
void CountNoMemory() {
  [[maybe_unused]] static const int once = sqlite3_config(SQLITE_CONFIG_MEMSTATUS, 0);
}

}  // namespace

Query::Query(Query&& other) noexcept
    : statement_(std::exchange(other.statement_, nullptr)),
      path_(other.path_),
      bind_error_(other.bind_error_) {}

Query::~Query() {
  if (statement_ == nullptr) return;
  sqlite3_reset(statement_);
  sqlite3_clear_bindings(statement_);
}

void Query::Reset() { sqlite3_reset(statement_); }

void Query::Note(int code) {
  if (code != SQLITE_OK && bind_error_ == 0) bind_error_ = code;
}

void Query::Bind(int index, Blob value) {
  // A null pointer would bind NULL instead of an empty blob.
  const char* data = value.bytes.empty() ? "" : value.bytes.data();
  Note(sqlite3_bind_blob64(statement_, index, data, value.bytes.size(), SQLITE_STATIC));
}

void Query::Bind(int index, std::string_view value) {
  const char* data = value.empty() ? "" : value.data();
  Note(sqlite3_bind_text64(statement_, index, data, value.size(), SQLITE_STATIC, SQLITE_UTF8));
}

void Query::Bind(int index, Null /*value*/) { Note(sqlite3_bind_null(statement_, index)); }

void Query::BindInt(int index, int64_t value) {
  Note(sqlite3_bind_int64(statement_, index, value));
}

absl::StatusOr<bool> Query::Next() {
  sqlite3* db = sqlite3_db_handle(statement_);
  if (bind_error_ != 0) return Error(db, *path_, bind_error_);
  const int code = sqlite3_step(statement_);
  if (code == SQLITE_ROW) return true;
  if (code == SQLITE_DONE) return false;
  return Error(db, *path_, sqlite3_extended_errcode(db));
}

bool Query::IsNull(int column) const {
  return sqlite3_column_type(statement_, column) == SQLITE_NULL;
}

int64_t Query::Int(int column) const { return sqlite3_column_int64(statement_, column); }

std::string_view Query::Bytes(int column) const {
  const void* data = sqlite3_column_blob(statement_, column);
  if (data == nullptr) return {};
  return {static_cast<const char*>(data),
          static_cast<size_t>(sqlite3_column_bytes(statement_, column))};
}

void Database::Closer::operator()(sqlite3* db) const { sqlite3_close_v2(db); }
void Database::Finalizer::operator()(sqlite3_stmt* statement) const { sqlite3_finalize(statement); }

Database::Database(std::string path)
    : path_(std::make_unique<const std::string>(std::move(path))) {}
Database::Database(Database&&) noexcept = default;

Database& Database::operator=(Database&& other) noexcept {
  statements_ = std::move(other.statements_);  // before the connection they belong to
  db_ = std::move(other.db_);
  path_ = std::move(other.path_);
  return *this;
}

Database::~Database() { statements_.clear(); }

absl::StatusOr<Database> Database::OpenWith(const std::string& path, int flags) {
  CountNoMemory();
  Database database(path);
  sqlite3* db = nullptr;
  const int code = sqlite3_open_v2(path.c_str(), &db, flags | SQLITE_OPEN_NOMUTEX, nullptr);
  database.db_.reset(db);
  if (code != SQLITE_OK) return Error(db, path, code);
  sqlite3_extended_result_codes(db, 1);
  sqlite3_busy_timeout(db, kBusyTimeoutMs);
  return database;
}

absl::StatusOr<Database> Database::Open(const std::string& path) {
  ASSIGN_OR_RETURN(Database database, OpenWith(path, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE));
  // Debian builds SQLite with secure_delete, which writes zeros over everything deleted. The
  // checkpoint threshold (16 MiB) keeps checkpoints rare beside commits; the size limit gives a
  // log that a burst made long back to the disk.
  RETURN_IF_ERROR(
      database.RunScript("PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA foreign_keys=ON;"
                         "PRAGMA secure_delete=OFF; PRAGMA wal_autocheckpoint=4096;"
                         "PRAGMA journal_size_limit=67108864; PRAGMA cache_size=-16384;"));
  ASSIGN_OR_RETURN(Query mode, database.Ask("PRAGMA journal_mode"));
  RETURN_IF_ERROR(mode.Next().status());
  if (mode.Bytes(0) != "wal") {
    return absl::FailedPreconditionError(
        fmt::format("{}: this file system does not support SQLite's WAL mode (network file "
                    "systems do not); use a local disk",
                    path));
  }
  return database;
}

absl::StatusOr<Database> Database::OpenForReading(const std::string& path) {
  return OpenWith(path, SQLITE_OPEN_READONLY);
}

absl::StatusOr<Query> Database::Start(std::string_view sql) {
  auto known = statements_.find(sql);
  if (known == statements_.end()) {
    sqlite3_stmt* statement = nullptr;
    const int code = sqlite3_prepare_v3(db_.get(), sql.data(), static_cast<int>(sql.size()),
                                        SQLITE_PREPARE_PERSISTENT, &statement, nullptr);
    if (code != SQLITE_OK) return Error(db_.get(), *path_, code);
    known = statements_.emplace(std::string(sql), statement).first;
  }
  return Query(known->second.get(), path_.get());
}

absl::StatusOr<Query> Database::AskNumbers(std::string_view sql, std::span<const int64_t> values) {
  absl::StatusOr<Query> query = Start(sql);
  if (!query.ok()) return query;
  int index = 0;
  for (const int64_t value : values) query->BindInt(++index, value);
  return query;
}

absl::Status Database::RunScript(const std::string& sql) {
  const int code = sqlite3_exec(db_.get(), sql.c_str(), nullptr, nullptr, nullptr);
  return code == SQLITE_OK ? absl::OkStatus() : Error(db_.get(), *path_, code);
}

absl::Status Database::Transaction(const std::function<absl::Status()>& work) {
  RETURN_IF_ERROR(Run("BEGIN IMMEDIATE"));
  absl::Status status = work();
  if (status.ok()) status = Run("COMMIT");
  // Some errors (a full disk) have rolled back already.
  if (!status.ok() && sqlite3_get_autocommit(db_.get()) == 0) {
    if (absl::Status undone = Run("ROLLBACK"); !undone.ok()) return undone;
  }
  return status;
}

int64_t Database::changed_rows() const { return sqlite3_changes64(db_.get()); }

ReadPool::Lease::Lease(Lease&& other) noexcept
    : pool_(std::exchange(other.pool_, nullptr)), db_(std::move(other.db_)) {}

ReadPool::Lease::~Lease() {
  if (pool_ == nullptr) return;
  const std::lock_guard lock(pool_->mutex_);
  if (pool_->idle_.size() < kMaxIdle) pool_->idle_.push_back(std::move(db_));
}

absl::StatusOr<ReadPool::Lease> ReadPool::Take() {
  {
    const std::lock_guard lock(mutex_);
    if (!idle_.empty()) {
      Lease lease(this, std::move(idle_.back()));
      idle_.pop_back();
      return lease;
    }
  }
  ASSIGN_OR_RETURN(Database db, Database::OpenForReading(path_));
  return Lease(this, std::move(db));
}

}  // namespace corpgrid::sqlite
