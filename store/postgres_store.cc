#include "store/postgres_store.h"

#include <algorithm>
#include <ctime>
#include <utility>

#include "base/status_macros.h"
#include "fmt/format.h"
#include "spdlog/spdlog.h"
#include "store/changes.h"
#include "store/followed.h"
#include "store/leader.h"
#include "store/row_values.h"
#include "store/tables.h"

namespace corpgrid::store {
namespace {

using postgres::Connection;
using postgres::Parameter;
using postgres::Statement;

// Goes on while the machine sleeps, as others' clocks do.
int64_t NowMs() {
  timespec now{};
  ::clock_gettime(CLOCK_BOOTTIME, &now);
  return int64_t{now.tv_sec} * 1000 + now.tv_nsec / 1'000'000;
}

// All rows of a table as one statement, each column an array. Among rows of one key the last one
// counts, except where a key that is there is an error; PostgreSQL itself refuses to write a row
// twice in a statement.
template <typename Row>
void AppendUpsert(std::vector<Statement>* statements, std::span<const Row> rows) {
  if (rows.empty()) return;
  std::vector<Parameter> arrays;
  for (const Row& row : rows) {
    WithValues(row, [&](const auto&... values) {
      if (arrays.empty()) arrays = {Parameter::ArrayOf(values)...};
      size_t column = 0;
      (arrays[column++].Add(values), ...);
    });
  }
  const auto make_sql = [&] {
    const Table& table = kTable<Row>;
    std::string given;
    for (const Parameter& array : arrays) {
      given += fmt::format("{}${}::{}", given.empty() ? "" : ", ", &array - arrays.data() + 1,
                           array.sql_type());
    }
    if (table.append_only) {
      return UpsertSql(table, fmt::format("SELECT * FROM UNNEST({})", given));
    }
    return UpsertSql(table, fmt::format("SELECT DISTINCT ON ({0}) {1} FROM UNNEST({2}) WITH "
                                        "ORDINALITY AS given({1}, place) ORDER BY {0}, place DESC",
                                        table.key, table.columns, given));
  };
  static const std::string sql = make_sql();
  statements->push_back({.sql = sql, .parameters = std::move(arrays)});
}

void AppendForget(std::vector<Statement>* statements, std::span<const ShardId> shards) {
  if (shards.empty()) return;
  std::vector<Parameter> arrays = {Parameter::ArrayOf(uint64_t{}), Parameter::ArrayOf(uint32_t{})};
  for (const ShardId& shard : shards) {
    arrays[0].Add(shard.job.value);
    arrays[1].Add(shard.index);
  }
  statements->push_back({.sql = "DELETE FROM checkpoints WHERE (job_id, shard) IN "
                                "(SELECT * FROM UNNEST($1::bigint[], $2::bigint[]))",
                         .parameters = std::move(arrays)});
}

// A range at a time: an array of them would leave it to the statistics whether an index is used.
void AppendDelete(std::vector<Statement>* statements, const core::WriteBatch& batch) {
  for (const core::ShardRange& range : batch.forgotten_shards) {
    for (const std::string_view sql : kDeleteShards) {
      statements->push_back(
          {.sql = std::string(sql),
           .parameters = {Parameter::Number(static_cast<int64_t>(range.job.value)),
                          Parameter::Number(range.first), Parameter::Number(range.last)}});
    }
  }
  for (const JobId job : batch.forgotten_jobs) {
    for (const std::string_view sql : kDeleteJob) {
      statements->push_back({.sql = std::string(sql),
                             .parameters = {Parameter::Number(static_cast<int64_t>(job.value))}});
    }
  }
}

absl::StatusOr<int64_t> OneNumber(Connection& db, std::string_view sql) {
  int64_t number = 0;
  RETURN_IF_ERROR(db.Ask(sql, {}, [&](const Columns& columns) {
    number = columns.Int(0);
    return absl::OkStatus();
  }));
  return number;
}

// The same with the database's name.
absl::Status Named(const Connection& db, const absl::Status& status) {
  return absl::Status(status.code(),
                      fmt::format("{}: {}", db.name(), std::string(status.message())));
}

absl::StatusOr<std::vector<Migration>> MissingStepsOf(Connection& db,
                                                      std::span<const Migration> migrations) {
  ASSIGN_OR_RETURN(const std::vector<AppliedStep> applied, AppliedSteps(db));
  absl::StatusOr<std::vector<Migration>> missing = MissingSteps(migrations, applied);
  if (!missing.ok()) return Named(db, missing.status());
  return missing;
}

absl::Status MigrateLocked(Connection& db, std::span<const Migration> migrations) {
  ASSIGN_OR_RETURN(const std::vector<Migration> missing, MissingStepsOf(db, migrations));
  for (const Migration& step : missing) RETURN_IF_ERROR(db.RunScript(ScriptOf(step)));
  return absl::OkStatus();
}

// Says when the server may lose what it acknowledged: that is its administrator's choice.
absl::Status WarnOfLoss(Connection& db) {
  ASSIGN_OR_RETURN(const int64_t no_fsync,
                   OneNumber(db, "SELECT (current_setting('fsync') = 'off')::int"));
  if (no_fsync != 0) spdlog::warn("{}: fsync is off; a power cut loses finished jobs", db.name());
  ASSIGN_OR_RETURN(const int64_t unsure,
                   OneNumber(db,
                             "SELECT ((current_setting('synchronous_standby_names') = '' OR "
                             "current_setting('synchronous_commit') = 'local') AND "
                             "EXISTS (SELECT FROM pg_stat_replication))::int"));
  if (unsure != 0) {
    spdlog::warn(
        "{}: its replicas lag behind (synchronous_standby_names is empty, or "
        "synchronous_commit local); failing over to one loses finished jobs",
        db.name());
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::vector<AppliedStep>> AppliedSteps(Connection& db) {
  absl::StatusOr<std::vector<AppliedStep>> applied = ReadAppliedSteps(
      "SELECT tablename FROM pg_tables WHERE schemaname = current_schema()",
      [&](std::string_view sql, const OnRow& on_row) { return db.Ask(sql, {}, on_row); });
  if (absl::IsFailedPrecondition(applied.status())) return Named(db, applied.status());
  return applied;
}

absl::Status Migrate(Connection& db, std::span<const Migration> migrations) {
  // Schedulers that start at the same time take turns. Any number will do that no other program
  // uses; the lock ends with the session.
  constexpr std::string_view kLock = "7161620311";
  RETURN_IF_ERROR(db.RunScript(fmt::format("SELECT pg_advisory_lock({})", kLock)));
  const absl::Status status = MigrateLocked(db, migrations);
  const absl::Status unlocked = db.RunScript(fmt::format("SELECT pg_advisory_unlock({})", kLock));
  return status.ok() ? unlocked : status;
}

absl::StatusOr<std::unique_ptr<PostgresStore>> PostgresStore::Open(const std::string& url,
                                                                   Follower* follower) {
  ASSIGN_OR_RETURN(Connection db, Connection::Open(url));
  // A program that the store does not suit must not end the one that it suits.
  ASSIGN_OR_RETURN(const std::vector<Migration> missing, MissingStepsOf(db, Migrations()));
  const bool may_be_led = std::none_of(missing.begin(), missing.end(), [](const Migration& step) {
    return step.version <= kLeaderStep;
  });
  if (!may_be_led) RETURN_IF_ERROR(Migrate(db, Migrations()));
  const int64_t start_ms = NowMs();
  ASSIGN_OR_RETURN(const int64_t token, TakeLeadership(db, std::nullopt));
  RETURN_IF_ERROR(WarnOfLoss(db));
  std::unique_ptr<PostgresStore> store(
      new PostgresStore(url, std::move(db), token, start_ms + kLeaseMs));
  store->follower_ = follower;
  store->renewer_ = std::thread([raw = store.get()] { raw->RenewUntilClosed(); });
  // Now that nobody else leads: the scheduler before never sees a schema that it does not know, and
  // one that stands by and goes away again leaves the store as it was.
  RETURN_IF_ERROR(Migrate(store->db_, Migrations()));
  RETURN_IF_ERROR(store->ReadGridId());
  return store;
}

PostgresStore::~PostgresStore() {
  {
    absl::MutexLock lock(&mutex_);
    closing_ = true;
  }
  if (renewer_.joinable()) renewer_.join();
  absl::MutexLock lock(&token_mutex_);
  if (!Standing().ok() || db_.LostMeanwhile()) return;
  const absl::Status status = db_.Run(std::vector{GiveUp(token_)});
  if (status.ok() || TokenWasRefused(db_)) return;
  spdlog::warn("the lead could not be given up; it ends by itself: {}", status.ToString());
}

absl::Status PostgresStore::Standing() const {
  absl::MutexLock lock(&mutex_);
  if (!deposed_.ok() || NowMs() < lease_end_ms_) return deposed_;
  return absl::UnavailableError(fmt::format(
      "the database did not confirm for {} ms that this scheduler leads; another may lead by now",
      kLeaseMs));
}

void PostgresStore::Renewed(int64_t start_ms) {
  absl::MutexLock lock(&mutex_);
  lease_end_ms_ = std::max(lease_end_ms_, start_ms + kLeaseMs);
}

absl::Status PostgresStore::Depose(const std::string& name) {
  absl::MutexLock lock(&mutex_);
  deposed_ = absl::AbortedError(
      fmt::format("{}: another scheduler leads this grid now; this one has ended", name));
  return deposed_;
}

absl::Status PostgresStore::Reconnect() {
  {
    absl::MutexLock lock(&mutex_);
    RETURN_IF_ERROR(deposed_);
  }
  if (!db_.LostMeanwhile()) return absl::OkStatus();
  ASSIGN_OR_RETURN(Connection db, Connection::Open(url_));
  absl::MutexLock lock(&token_mutex_);
  // Raising the token also refuses what the lost session may still be about to begin.
  const absl::StatusOr<int64_t> token = TakeLeadership(db, token_);
  if (absl::IsAborted(token.status())) return Depose(db.name());
  RETURN_IF_ERROR(token.status());
  token_ = *token;
  db_ = std::move(db);
  return absl::OkStatus();
}

absl::Status PostgresStore::RunLeading(std::vector<Statement> statements) {
  RETURN_IF_ERROR(Reconnect());
  {
    absl::MutexLock lock(&token_mutex_);
    statements.insert(statements.begin(), ShowToken(token_));
  }
  const int64_t start_ms = NowMs();
  const absl::Status status = db_.Run(statements);
  if (status.ok()) Renewed(start_ms);
  if (!status.ok() && TokenWasRefused(db_)) return Depose(db_.name());
  return status;
}

absl::StatusOr<core::Snapshot> PostgresStore::Load() {
  RETURN_IF_ERROR(RunLeading({}));
  if (Follower* const follower = std::exchange(follower_, nullptr)) {
    absl::StatusOr<core::Snapshot> kept = follower->TakeOver();
    if (kept.ok()) return kept;
    spdlog::warn("the state is read as a whole: {}", std::string(kept.status().message()));
  }
  return SqlStore::Load();
}

absl::StatusOr<std::unique_ptr<core::Grid>> PostgresStore::LoadBuilt() {
  if (!follower_) return nullptr;
  RETURN_IF_ERROR(RunLeading({}));
  std::unique_ptr<core::Grid> grid = follower_->TakeOverBuilt();
  if (grid) follower_ = nullptr;
  return grid;
}

absl::Status PostgresStore::Ask(std::string_view sql, std::span<const int64_t> numbers,
                                const OnRow& on_row) {
  return db_.Ask(sql, numbers, on_row);
}

absl::Status PostgresStore::AskReader(std::string_view sql, std::span<const int64_t> numbers,
                                      const OnRow& on_row) const {
  return readers_.Ask(sql, numbers, on_row);
}

absl::Status PostgresStore::Write(const core::WriteBatch& batch) {
  std::vector<core::JobProgressRow> progress;
  for (const core::JobRow& job : batch.jobs) progress.push_back(ProgressOf(job));
  progress.insert(progress.end(), batch.job_progress.begin(), batch.job_progress.end());
  std::vector<Statement> statements;
  const auto add = [&]<typename Row>(const std::vector<Row>& rows) {
    AppendUpsert(&statements, std::span<const Row>(rows));
  };
  if (batch.meta) AppendUpsert(&statements, std::span<const core::MetaRow>(&*batch.meta, 1));
  add(batch.join_tokens);
  add(batch.devices);
  add(batch.reputations);
  add(batch.projects);
  add(batch.models);
  add(batch.jobs);
  add(progress);
  add(batch.shards);
  add(batch.attempts);
  add(batch.results);
  add(batch.checkpoints);
  AppendForget(&statements, batch.forgotten_checkpoints);
  add(batch.audit);
  AppendDelete(&statements, batch);
  if (batch.meta) AddChanges(batch, &statements);
  return RunLeading(std::move(statements));
}

// For those that follow: what this batch changes, and now and then that what they have read goes.
void PostgresStore::AddChanges(const core::WriteBatch& batch, std::vector<Statement>* statements) {
  const bool followed = followed_;
  if (followed) {
    const ChangeRow row{.batch = batch.meta->batch, .rows = EncodeChanges(batch)};
    AppendUpsert(statements, std::span<const ChangeRow>(&row, 1));
  }
  const int64_t now_ms = NowMs();
  if (followed == was_followed_ && (!followed || now_ms - pruned_ms_ < kRenewMs)) return;
  for (Statement& statement : PruneChanges()) statements->push_back(std::move(statement));
  was_followed_ = followed;
  pruned_ms_ = now_ms;
}

void PostgresStore::RenewUntilClosed() {
  std::optional<Connection> session;
  absl::MutexLock lock(&mutex_);
  while (!closing_ && deposed_.ok()) {
    mutex_.Unlock();
    RenewOnce(&session);
    if (session) LookForFollowers(*session);
    mutex_.Lock();
    mutex_.AwaitWithTimeout(absl::Condition(&closing_), absl::Milliseconds(kRenewMs));
  }
}

// What goes wrong shows at the next renewal.
void PostgresStore::LookForFollowers(Connection& session) {
  const absl::StatusOr<bool> followed = HasFollowers(session);
  if (followed.ok()) followed_ = *followed;
}

// On a session of its own: the committing thread may be busy with something long. A lease that
// cannot be renewed runs out, so that nothing needs to be done about errors.
void PostgresStore::RenewOnce(std::optional<Connection>* session) {
  absl::MutexLock lock(&token_mutex_);
  if (!*session || (*session)->LostMeanwhile()) {
    absl::StatusOr<Connection> opened = OpenRenewer(url_);
    if (!opened.ok()) return;
    *session = *std::move(opened);
  }
  const int64_t start_ms = NowMs();
  const absl::Status status = (*session)->Run(std::vector{ShowToken(token_)});
  if (status.ok()) Renewed(start_ms);
  if (!status.ok() && TokenWasRefused(**session)) Depose((*session)->name()).IgnoreError();
}

}  // namespace corpgrid::store
