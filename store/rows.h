#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/sqlite.h"
#include "core/rows.h"

// The rows of core/rows.h as columns of SQLite. Each pair of a column list and a reader belongs
// together: the reader takes the columns in the list's order.
namespace corpgrid::store {

// Takes one row's columns from the left. What cannot be a value of its type is noted, not returned.
class ColumnReader {
 public:
  // From column `first` on. `query` must outlive the reader.
  explicit ColumnReader(const sqlite::Query& query, int first = 0)
      : query_(query), column_(first) {}

  int64_t Signed() { return query_.Int(column_++); }
  uint64_t Unsigned() { return static_cast<uint64_t>(Signed()); }
  uint32_t Small();
  std::string Text() { return std::string(query_.Bytes(column_++)); }
  crypto::Hash Hash();
  template <typename Enum>
  Enum OneOf(Enum first, Enum last) {
    const int64_t value = Signed();
    if (value >= static_cast<int64_t>(first) && value <= static_cast<int64_t>(last)) {
      return static_cast<Enum>(value);
    }
    damaged_ = true;
    return first;
  }
  std::vector<job::Output> Outputs();

  // DataLoss when a value could not be what was written.
  absl::Status status() const;

 private:
  const sqlite::Query& query_;
  int column_;
  bool damaged_ = false;
};

inline constexpr std::string_view kMetaColumns =
    "grid_id, batch, time_ms, next_device, next_job, next_attempt";
inline constexpr std::string_view kTokenColumns = "secret_hash, owner, uses_left, idempotency_key";
inline constexpr std::string_view kDeviceColumns =
    "id, public_key, name, owner, site, version, cpus, memory_bytes, vram_bytes, backends, "
    "network_allowed";
inline constexpr std::string_view kReputationColumns =
    "device_id, agreed, disagreed, expired, refused, faults";
inline constexpr std::string_view kJobColumns =
    "id, idempotency_key, spec, spec_hash, bundle_hash, bundle_bytes, submitter_key, signature, "
    "submitted_wall_ms, state, next_shard, done, failed, finished_wall_ms, error";
inline constexpr std::string_view kShardColumns =
    "s.job_id, s.shard, s.state, s.tries, s.replicas, s.expired, s.faults, s.winner, s.error";
inline constexpr std::string_view kAttemptColumns =
    "a.id, a.job_id, a.shard, a.device_id, a.owner, a.lease_token, a.try_number, a.state";
inline constexpr std::string_view kCheckpointColumns = "job_id, shard, holder, attempt_id, state";
inline constexpr std::string_view kResultColumns =
    "r.attempt_id, r.outcome, r.exit_code, r.outputs, r.signature, r.detail, r.wall_ms, r.cpu_ms, "
    "r.max_rss_bytes, r.stdout_tail, r.stderr_tail";
inline constexpr std::string_view kResultColumnsWithoutTails =
    "r.attempt_id, r.outcome, r.exit_code, r.outputs, r.signature, r.detail, r.wall_ms, r.cpu_ms, "
    "r.max_rss_bytes, '', ''";
inline constexpr int kAttemptColumnCount = 8;

absl::Status Read(const sqlite::Query& query, core::MetaRow* row);
absl::Status Read(const sqlite::Query& query, core::JoinTokenRow* row);
absl::Status Read(const sqlite::Query& query, core::DeviceRow* row);
absl::Status Read(const sqlite::Query& query, core::ReputationRow* row);
absl::Status Read(const sqlite::Query& query, core::JobRow* row);
absl::Status Read(const sqlite::Query& query, core::ShardRow* row);
absl::Status Read(const sqlite::Query& query, core::AttemptRow* row);
absl::Status Read(const sqlite::Query& query, core::CheckpointRow* row);
absl::Status Read(const sqlite::Query& query, core::ResultRow* row, int first_column = 0);

// Each inserts the row or replaces the one with its key.
absl::Status Write(sqlite::Database& db, const core::MetaRow& row);  // but for its grid id
absl::Status Write(sqlite::Database& db, const core::JoinTokenRow& row);
absl::Status Write(sqlite::Database& db, const core::DeviceRow& row);
absl::Status Write(sqlite::Database& db, const core::ReputationRow& row);
absl::Status Write(sqlite::Database& db, const core::JobRow& row);  // with its progress
absl::Status Write(sqlite::Database& db, const core::JobProgressRow& row);
absl::Status Write(sqlite::Database& db, const core::ShardRow& row);
absl::Status Write(sqlite::Database& db, const core::AttemptRow& row);
absl::Status Write(sqlite::Database& db, const core::ResultRow& row);
absl::Status Write(sqlite::Database& db, const core::CheckpointRow& row);

}  // namespace corpgrid::store
