#include "store/copy.h"

#include <algorithm>
#include <array>
#include <filesystem>
#include <utility>

#include "base/status_macros.h"
#include "crypto/encoding.h"
#include "crypto/hash.h"
#include "fmt/format.h"
#include "store/open.h"
#include "store/row_bytes.h"
#include "store/tables.h"

namespace corpgrid::store {
namespace {

constexpr size_t kRowsACommit = 500;

constexpr std::array kTables = {kTable<core::JoinTokenRow>.name,   kTable<core::DeviceRow>.name,
                                kTable<core::ReputationRow>.name,  kTable<core::ProjectRow>.name,
                                kTable<core::ModelRow>.name,       kTable<core::JobRow>.name,
                                kTable<core::JobProgressRow>.name, kTable<core::ShardRow>.name,
                                kTable<core::AttemptRow>.name,     kTable<core::ResultRow>.name,
                                kTable<core::CheckpointRow>.name,  kTable<core::AuditRow>.name};

auto& RowsOf(core::WriteBatch& batch, const core::JoinTokenRow&) { return batch.join_tokens; }
auto& RowsOf(core::WriteBatch& batch, const core::DeviceRow&) { return batch.devices; }
auto& RowsOf(core::WriteBatch& batch, const core::ReputationRow&) { return batch.reputations; }
auto& RowsOf(core::WriteBatch& batch, const core::ProjectRow&) { return batch.projects; }
auto& RowsOf(core::WriteBatch& batch, const core::ModelRow&) { return batch.models; }
auto& RowsOf(core::WriteBatch& batch, const core::JobRow&) { return batch.jobs; }
auto& RowsOf(core::WriteBatch& batch, const core::ShardRow&) { return batch.shards; }
auto& RowsOf(core::WriteBatch& batch, const core::AttemptRow&) { return batch.attempts; }
auto& RowsOf(core::WriteBatch& batch, const core::ResultRow&) { return batch.results; }
auto& RowsOf(core::WriteBatch& batch, const core::CheckpointRow&) { return batch.checkpoints; }
auto& RowsOf(core::WriteBatch& batch, const core::AuditRow&) { return batch.audit; }

// The same for the same rows, whichever database they come from.
class Digest {
 public:
  template <typename Row>
  void Add(const Row& row) {
    crypto::Encoder encoder(kTable<Row>.name, 1);
    AddRow(&encoder, row);
    hasher_.Update(encoder.bytes());
  }
  std::string Hex() const { return hasher_.Finish().Hex(); }

 private:
  crypto::Hasher hasher_;
};

auto KeyOf(const core::CheckpointRow& row) { return std::pair(row.shard, AsSqlText(row.holder)); }
auto KeyOf(const core::ProjectRow& row) { return AsSqlText(row.name); }
auto KeyOf(const core::ModelRow& row) { return AsSqlText(row.name); }

// By the bytes of their keys: each database has an order of its own for texts. In memory, as there
// are few projects and models, and only running shards have checkpoints.
template <typename Row, typename Use>
absl::Status ForEachInOrder(SqlStore* store, const Use& use) {
  std::vector<Row> rows;
  RETURN_IF_ERROR(store->ForEach<Row>([&](const Row& row) {
    rows.push_back(row);
    return absl::OkStatus();
  }));
  std::sort(rows.begin(), rows.end(),
            [](const Row& a, const Row& b) { return KeyOf(a) < KeyOf(b); });
  for (const Row& row : rows) RETURN_IF_ERROR(use(row));
  return absl::OkStatus();
}

// Parents before their children.
template <typename Use>
absl::Status ForEveryRow(SqlStore* store, const Use& use) {
  RETURN_IF_ERROR(store->ForEach<core::JoinTokenRow>(use));
  RETURN_IF_ERROR(store->ForEach<core::DeviceRow>(use));
  RETURN_IF_ERROR(store->ForEach<core::ReputationRow>(use));
  RETURN_IF_ERROR(ForEachInOrder<core::ProjectRow>(store, use));
  RETURN_IF_ERROR(ForEachInOrder<core::ModelRow>(store, use));
  RETURN_IF_ERROR(store->ForEach<core::JobRow>(use));
  RETURN_IF_ERROR(store->ForEach<core::ShardRow>(use));
  RETURN_IF_ERROR(store->ForEach<core::AttemptRow>(use));
  RETURN_IF_ERROR(store->ForEach<core::ResultRow>(use));
  RETURN_IF_ERROR(store->ForEach<core::AuditRow>(use));
  return ForEachInOrder<core::CheckpointRow>(store, use);
}

class Copier {
 public:
  Copier(SqlStore* from, SqlStore* to, const std::function<void(uint64_t, uint64_t)>& progress)
      : from_(from), to_(to), progress_(progress) {}

  absl::StatusOr<CopyReport> Run();

 private:
  absl::Status CheckEmpty();
  absl::Status CountSource();
  absl::Status CheckCopy(const std::string& digest);
  absl::Status Flush();
  absl::Status CopyAll(Digest* digest);
  void Advance() { progress_(++done_, total_); }

  SqlStore* const from_;
  SqlStore* const to_;
  const std::function<void(uint64_t, uint64_t)>& progress_;
  CopyReport report_;
  core::WriteBatch batch_;
  size_t batch_rows_ = 0;
  uint64_t done_ = 0;
  uint64_t total_ = 0;
};

absl::Status Copier::CheckEmpty() {
  for (const std::string_view table : kTables) {
    ASSIGN_OR_RETURN(const uint64_t rows, to_->CountRows(table));
    if (rows == 0) continue;
    return absl::FailedPreconditionError(fmt::format(
        "the target is not empty: it has {} rows in {}; choose an empty one", rows, table));
  }
  return absl::OkStatus();
}

absl::Status Copier::CountSource() {
  for (const std::string_view table : kTables) {
    ASSIGN_OR_RETURN(const uint64_t rows, from_->CountRows(table));
    report_.tables.push_back({.name = std::string(table), .rows = rows});
    if (table != kTable<core::JobProgressRow>.name) total_ += 2 * rows;  // it comes with the jobs
  }
  return absl::OkStatus();
}

absl::Status Copier::Flush() {
  const absl::Status status = to_->Adopt(std::exchange(batch_, {}));
  batch_rows_ = 0;
  return status;
}

absl::Status Copier::CopyAll(Digest* digest) {
  RETURN_IF_ERROR(ForEveryRow(from_, [&](const auto& row) -> absl::Status {
    digest->Add(row);
    RowsOf(batch_, row).push_back(row);
    Advance();
    return ++batch_rows_ < kRowsACommit ? absl::OkStatus() : Flush();
  }));
  return Flush();
}

absl::Status Copier::CheckCopy(const std::string& digest) {
  for (const CopiedTable& table : report_.tables) {
    ASSIGN_OR_RETURN(const uint64_t rows, to_->CountRows(table.name));
    if (rows == table.rows) continue;
    return absl::DataLossError(
        fmt::format("{} has {} rows in the copy, not {}", table.name, rows, table.rows));
  }
  Digest copied;
  RETURN_IF_ERROR(ForEveryRow(to_, [&](const auto& row) {
    copied.Add(row);
    Advance();
    return absl::OkStatus();
  }));
  if (copied.Hex() == digest) return absl::OkStatus();
  return absl::DataLossError("the copy's rows are not the ones that were read");
}

absl::StatusOr<CopyReport> Copier::Run() {
  RETURN_IF_ERROR(CheckEmpty());
  RETURN_IF_ERROR(CountSource());
  ASSIGN_OR_RETURN(const core::Snapshot source, from_->Load());
  // Without a grid's id the store can not be opened: half a grid is none.
  core::WriteBatch nobodys;
  nobodys.meta = core::MetaRow{.grid_id = ""};
  RETURN_IF_ERROR(to_->Adopt(nobodys));
  Digest digest;
  RETURN_IF_ERROR(CopyAll(&digest));
  RETURN_IF_ERROR(CheckCopy(digest.Hex()));
  core::WriteBatch last;
  last.meta = source.meta;
  RETURN_IF_ERROR(to_->Adopt(last));
  report_.grid_id = source.meta.grid_id;
  report_.digest = digest.Hex();
  return std::move(report_);
}

}  // namespace

absl::StatusOr<CopyReport> Copy(const std::string& from, const std::string& to,
                                const std::function<void(uint64_t, uint64_t)>& progress) {
  std::error_code error;
  if (!IsPostgresUrl(from) && !std::filesystem::exists(from, error)) {
    return absl::NotFoundError(fmt::format("there is no store {}", from));
  }
  ASSIGN_OR_RETURN(const std::unique_ptr<SqlStore> source, OpenSql(from));
  ASSIGN_OR_RETURN(const std::unique_ptr<SqlStore> target, OpenSql(to));
  return Copier(source.get(), target.get(), progress).Run();
}

}  // namespace corpgrid::store
