#include "store/sql_store.h"

#include <algorithm>
#include <array>
#include <limits>
#include <utility>

#include "base/status_macros.h"
#include "crypto/hex.h"
#include "crypto/signature.h"
#include "fmt/format.h"
#include "store/rows.h"
#include "store/tables.h"

namespace corpgrid::store {
namespace {

constexpr std::string_view kUnfinished = "p.state <= 1";  // queued or running
constexpr std::string_view kThere = "p.state <> 5";       // not removed
static_assert(static_cast<int>(core::JobState::kRunning) == 1);
static_assert(static_cast<int>(core::JobState::kRemoved) == 5);
static_assert(static_cast<int>(core::ShardState::kRunning) == 0);  // the partial index's

template <typename Row>
OnRow AppendTo(std::vector<Row>* rows) {
  return [rows](const Columns& columns) { return Read(columns, &rows->emplace_back()); };
}

template <typename Row>
std::string SelectAll() {
  const Table& table = kTable<Row>;
  return fmt::format("SELECT {} FROM {} ORDER BY {}", table.columns, table.name, table.key);
}

// Jobs with their progress; `rest` may speak of them as j and p.
std::string SelectJobs(std::string_view rest) {
  return fmt::format("SELECT {}, {} FROM jobs j JOIN job_progress p ON p.job_id = j.id {}",
                     Prefixed("j.", kTable<core::JobRow>.columns),
                     Prefixed("p.", kTable<core::JobProgressRow>.columns), rest);
}

// Attempts with their results; `tails` is what stands for the log tails.
std::string SelectAttempts(std::string_view tails, std::string_view rest) {
  return fmt::format(
      "SELECT {}, {}, {} FROM job_attempts a LEFT JOIN shard_results r ON r.attempt_id = a.id {}",
      Prefixed("a.", kTable<core::AttemptRow>.columns), Prefixed("r.", kResultColumnsButTails),
      tails, rest);
}

// What a database has no number for is more than it has rows.
int64_t AsBound(uint64_t bound) {
  return static_cast<int64_t>(
      std::min(bound, static_cast<uint64_t>(std::numeric_limits<int64_t>::max())));
}

int64_t Signed(uint64_t id) { return static_cast<int64_t>(id); }

OnRow AppendRecordsTo(std::vector<AttemptRecord>* records) {
  return [records](const Columns& columns) -> absl::Status {
    constexpr int kResultBegins = kTable<core::AttemptRow>.column_count();
    AttemptRecord& record = records->emplace_back();
    RETURN_IF_ERROR(Read(columns, &record.attempt));
    if (columns.IsNull(kResultBegins)) return absl::OkStatus();
    return Read(columns, &record.result.emplace(), kResultBegins);
  };
}

}  // namespace

absl::Status SqlStore::ReadGridId() {
  bool found = false;
  const auto read = [&](const Columns& columns) {
    found = true;
    grid_id_ = columns.Bytes(0);
    return absl::OkStatus();
  };
  RETURN_IF_ERROR(Ask("SELECT grid_id FROM meta", {}, read));
  if (found && grid_id_.empty()) {
    return absl::FailedPreconditionError(
        "a copy into this store did not finish; empty it and copy again (corpgrid store copy)");
  }
  if (found) return absl::OkStatus();
  core::WriteBatch first;
  first.meta = core::MetaRow{.grid_id = crypto::ToHex(crypto::RandomBytes(16))};
  return Adopt(first);
}

absl::Status SqlStore::Adopt(const core::WriteBatch& batch) {
  RETURN_IF_ERROR(Write(batch));
  if (batch.meta) grid_id_ = batch.meta->grid_id;
  return absl::OkStatus();
}

template <typename Row>
absl::Status SqlStore::ForEach(const std::function<absl::Status(const Row&)>& use) {
  std::string sql = SelectAll<Row>();
  if constexpr (std::is_same_v<Row, core::JobRow>) sql = SelectJobs("ORDER BY j.id");
  return Ask(sql, {}, [&](const Columns& columns) -> absl::Status {
    Row row;
    RETURN_IF_ERROR(Read(columns, &row));
    return use(row);
  });
}

template absl::Status SqlStore::ForEach(
    const std::function<absl::Status(const core::JoinTokenRow&)>&);
template absl::Status SqlStore::ForEach(const std::function<absl::Status(const core::DeviceRow&)>&);
template absl::Status SqlStore::ForEach(
    const std::function<absl::Status(const core::ReputationRow&)>&);
template absl::Status SqlStore::ForEach(
    const std::function<absl::Status(const core::ProjectRow&)>&);
template absl::Status SqlStore::ForEach(const std::function<absl::Status(const core::ModelRow&)>&);
template absl::Status SqlStore::ForEach(const std::function<absl::Status(const core::JobRow&)>&);
template absl::Status SqlStore::ForEach(const std::function<absl::Status(const core::ShardRow&)>&);
template absl::Status SqlStore::ForEach(
    const std::function<absl::Status(const core::AttemptRow&)>&);
template absl::Status SqlStore::ForEach(const std::function<absl::Status(const core::ResultRow&)>&);
template absl::Status SqlStore::ForEach(
    const std::function<absl::Status(const core::CheckpointRow&)>&);
template absl::Status SqlStore::ForEach(const std::function<absl::Status(const core::AuditRow&)>&);

absl::StatusOr<uint64_t> SqlStore::CountRows(std::string_view table) {
  uint64_t count = 0;
  RETURN_IF_ERROR(
      Ask(fmt::format("SELECT COUNT(*) FROM {}", table), {}, [&](const Columns& columns) {
        count = static_cast<uint64_t>(columns.Int(0));
        return absl::OkStatus();
      }));
  return count;
}

absl::StatusOr<core::Snapshot> SqlStore::Load() {
  core::Snapshot snapshot;
  std::vector<core::MetaRow> meta;
  RETURN_IF_ERROR(Ask(SelectAll<core::MetaRow>(), {}, AppendTo(&meta)));
  if (meta.size() != 1) return absl::DataLossError("the store has lost its meta row");
  snapshot.meta = std::move(meta[0]);
  RETURN_IF_ERROR(Ask(SelectAll<core::JoinTokenRow>(), {}, AppendTo(&snapshot.join_tokens)));
  RETURN_IF_ERROR(Ask(SelectAll<core::DeviceRow>(), {}, AppendTo(&snapshot.devices)));
  RETURN_IF_ERROR(Ask(SelectAll<core::ReputationRow>(), {}, AppendTo(&snapshot.reputations)));
  RETURN_IF_ERROR(Ask(SelectAll<core::ProjectRow>(), {}, AppendTo(&snapshot.projects)));
  RETURN_IF_ERROR(Ask(SelectAll<core::ModelRow>(), {}, AppendTo(&snapshot.models)));
  RETURN_IF_ERROR(Ask(SelectJobs(fmt::format("WHERE {} ORDER BY j.id", kUnfinished)), {},
                      AppendTo(&snapshot.jobs)));
  const auto select_of_running = [](std::string_view prefix, std::string_view columns,
                                    std::string_view joins, std::string_view order) {
    return fmt::format(
        "SELECT {} FROM job_shards s JOIN job_progress p ON p.job_id = s.job_id + 0 {} s.state = 0 "
        "AND {} ORDER BY {}",
        Prefixed(prefix, columns), joins, kUnfinished, order);
  };
  // CROSS JOIN keeps SQLite from starting at the attempts, of which there may be millions. Without
  // the "+ 0", PostgreSQL, before it has statistics, joins them by p.job_id alone: 73 ms, not 0.3.
  RETURN_IF_ERROR(
      Ask(select_of_running("s.", kTable<core::ShardRow>.columns, "WHERE", "s.job_id, s.shard"), {},
          AppendTo(&snapshot.shards)));
  RETURN_IF_ERROR(Ask(select_of_running("a.", kTable<core::AttemptRow>.columns,
                                        "CROSS JOIN job_attempts a WHERE a.job_id = s.job_id AND "
                                        "a.shard = s.shard AND",
                                        "a.id"),
                      {}, AppendTo(&snapshot.attempts)));
  RETURN_IF_ERROR(Ask(select_of_running("r.", kTable<core::ResultRow>.columns,
                                        "CROSS JOIN job_attempts a CROSS JOIN shard_results r "
                                        "WHERE a.job_id = s.job_id AND a.shard = s.shard AND "
                                        "r.attempt_id = a.id AND",
                                        "a.id"),
                      {}, AppendTo(&snapshot.results)));
  RETURN_IF_ERROR(Ask(SelectAll<core::CheckpointRow>(), {}, AppendTo(&snapshot.checkpoints)));
  RETURN_IF_ERROR(Ask(fmt::format("SELECT j.idempotency_key, j.id, p.state, p.next_shard, "
                                  "p.finished_ms FROM jobs j JOIN job_progress p ON "
                                  "p.job_id = j.id WHERE NOT {} ORDER BY j.id",
                                  kUnfinished),
                      {}, AppendTo(&snapshot.finished)));
  return snapshot;
}

absl::Status SqlStore::Commit(const core::WriteBatch& batch) {
  if (batch.empty()) return absl::OkStatus();
  if (batch.meta && batch.meta->grid_id != grid_id_) {
    return absl::InvalidArgumentError(
        fmt::format("a batch of grid {} for the store of grid {}", batch.meta->grid_id, grid_id_));
  }
  return Write(batch);
}

absl::StatusOr<std::vector<core::JobRow>> SqlStore::Jobs(JobId before, size_t limit) const {
  const int64_t bound = before ? Signed(before.value) : std::numeric_limits<int64_t>::max();
  std::vector<core::JobRow> jobs;
  const std::string sql =
      SelectJobs(fmt::format("WHERE j.id < $1 AND {} ORDER BY j.id DESC LIMIT $2", kThere));
  RETURN_IF_ERROR(AskReader(sql, std::array{bound, AsBound(limit)}, AppendTo(&jobs)));
  return jobs;
}

absl::StatusOr<core::JobRow> SqlStore::Job(JobId id) const {
  std::vector<core::JobRow> jobs;
  RETURN_IF_ERROR(AskReader(SelectJobs(fmt::format("WHERE j.id = $1 AND {}", kThere)),
                            std::array{Signed(id.value)}, AppendTo(&jobs)));
  if (jobs.empty()) return absl::NotFoundError(fmt::format("there is no job {}", id.value));
  return std::move(jobs[0]);
}

absl::StatusOr<std::vector<core::ShardRow>> SqlStore::Shards(JobId job, uint32_t first,
                                                             size_t limit) const {
  std::vector<core::ShardRow> shards;
  const std::string sql = fmt::format(
      "SELECT {} FROM job_shards WHERE job_id = $1 AND shard >= $2 ORDER BY shard LIMIT $3",
      kTable<core::ShardRow>.columns);
  RETURN_IF_ERROR(AskReader(sql, std::array{Signed(job.value), int64_t{first}, AsBound(limit)},
                            AppendTo(&shards)));
  return shards;
}

absl::StatusOr<std::vector<AttemptRecord>> SqlStore::Attempts(JobId job, uint32_t first,
                                                              uint32_t last) const {
  std::vector<AttemptRecord> records;
  const std::string sql = SelectAttempts(
      "'', ''", "WHERE a.job_id = $1 AND a.shard BETWEEN $2 AND $3 ORDER BY a.shard, a.id");
  RETURN_IF_ERROR(AskReader(sql, std::array{Signed(job.value), int64_t{first}, int64_t{last}},
                            AppendRecordsTo(&records)));
  return records;
}

absl::StatusOr<AttemptRecord> SqlStore::Attempt(AttemptId id) const {
  std::vector<AttemptRecord> records;
  const std::string sql = SelectAttempts(
      "r.stdout_tail, r.stderr_tail",
      fmt::format("JOIN job_progress p ON p.job_id = a.job_id WHERE a.id = $1 AND {}", kThere));
  RETURN_IF_ERROR(AskReader(sql, std::array{Signed(id.value)}, AppendRecordsTo(&records)));
  if (records.empty()) return absl::NotFoundError(fmt::format("there is no attempt {}", id.value));
  return std::move(records[0]);
}

absl::StatusOr<std::vector<core::AuditRow>> SqlStore::AuditLog(uint64_t first, size_t limit) const {
  std::vector<core::AuditRow> rows;
  const std::string sql =
      fmt::format("SELECT {} FROM audit_log WHERE entry_index >= $1 ORDER BY entry_index LIMIT $2",
                  kTable<core::AuditRow>.columns);
  RETURN_IF_ERROR(AskReader(sql, std::array{AsBound(first), AsBound(limit)}, AppendTo(&rows)));
  return rows;
}

}  // namespace corpgrid::store
