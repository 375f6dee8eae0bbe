#include "sim/memory_store.h"

#include <utility>

#include "fmt/format.h"

namespace corpgrid::sim {
namespace {

absl::Status NotKept() {
  return absl::UnimplementedError("the simulated store keeps no rows for reading but jobs");
}

}  // namespace

// The store that is open on a MemoryStorage.
class MemoryStore final : public store::Store {
 public:
  explicit MemoryStore(MemoryStorage* storage) : storage_(storage) {}

  absl::StatusOr<core::Snapshot> Load() override { return storage_->Load(); }
  absl::Status Commit(const core::WriteBatch& batch) override { return storage_->Commit(batch); }
  absl::StatusOr<core::JobRow> Job(JobId id) const override {
    const core::JobRow* row = storage_->rows_.Find(id);
    if (!row) return absl::NotFoundError(fmt::format("there is no job {}", id.value));
    return *row;
  }
  absl::StatusOr<std::vector<core::JobRow>> Jobs(JobId, size_t) const override { return NotKept(); }
  absl::StatusOr<std::vector<core::ShardRow>> Shards(JobId, uint32_t, size_t) const override {
    return NotKept();
  }
  absl::StatusOr<std::vector<store::AttemptRecord>> Attempts(JobId, uint32_t,
                                                             uint32_t) const override {
    return NotKept();
  }
  absl::StatusOr<store::AttemptRecord> Attempt(AttemptId) const override { return NotKept(); }
  absl::StatusOr<std::vector<core::AuditRow>> AuditLog(uint64_t, size_t) const override {
    return NotKept();
  }

 private:
  MemoryStorage* const storage_;
};

absl::StatusOr<std::unique_ptr<store::Store>> MemoryStorage::Open() {
  down_ = false;
  return std::make_unique<MemoryStore>(this);
}

absl::StatusOr<core::Snapshot> MemoryStorage::Load() {
  if (down_) return absl::UnavailableError("the power is off");
  if (std::exchange(fail_load_, false)) return absl::UnavailableError("disk I/O error");
  return rows_.ToSnapshot();
}

absl::Status MemoryStorage::Commit(const core::WriteBatch& batch) {
  if (down_) return absl::UnavailableError("the power is off");
  const std::optional<Fault> fault = std::exchange(next_commit_, std::nullopt);
  if (!fault) {
    limbo_.reset();  // This commit has taken its place.
    rows_.Keep(batch);
    return absl::OkStatus();
  }
  switch (*fault) {
    case Fault::kDiskFull:
      return absl::ResourceExhaustedError("database or disk is full");
    case Fault::kSyncError:
      limbo_ = batch;
      return absl::UnavailableError("disk I/O error at a sync");
    case Fault::kCommitOutcomeUnknown:
      limbo_.reset();
      rows_.Keep(batch);
      return absl::UnavailableError("the connection was lost");
    case Fault::kCrashInsideCommit:
      limbo_ = batch;
      down_ = true;
      return absl::UnavailableError("the power is off");
    default:
      return absl::UnavailableError("disk I/O error");
  }
}

void MemoryStorage::Mend() {
  next_commit_.reset();
  fail_load_ = false;
}

void MemoryStorage::Crash(bool torn, bool lost) {
  Mend();
  down_ = true;
  // What was written whole is there, unless the power failed before it was synced.
  const bool lands = limbo_ && !torn && (!lost || random_.Below(2) == 0);
  if (lands) rows_.Keep(*limbo_);
  limbo_.reset();
}

}  // namespace corpgrid::sim
