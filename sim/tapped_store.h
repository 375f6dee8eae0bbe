#pragma once

#include <memory>
#include <vector>

#include "base/status_macros.h"
#include "sim/checker.h"
#include "sim/seams.h"
#include "store/store.h"

namespace corpgrid::sim {

// Shows the checker what truly reaches a store and comes from it; the seams are above.
class TappedStore final : public store::Store {
 public:
  TappedStore(std::unique_ptr<store::Store> inner, Checker* checker, Seams* seams)
      : inner_(std::move(inner)), checker_(checker), seams_(seams) {}

  absl::StatusOr<core::Snapshot> Load() override {
    ASSIGN_OR_RETURN(core::Snapshot snapshot, inner_->Load());
    checker_->Loaded(snapshot);
    if (seams_) seams_->AfterLoad(&snapshot);
    return snapshot;
  }
  absl::Status Commit(const core::WriteBatch& batch) override {
    if (!seams_) return Write(batch);
    core::WriteBatch changed = batch;
    if (!seams_->BeforeWrite(&changed)) return absl::OkStatus();
    return seams_->AfterWrite(Write(changed));
  }
  absl::StatusOr<core::JobRow> Job(JobId id) const override { return inner_->Job(id); }
  absl::StatusOr<std::vector<core::JobRow>> Jobs(JobId before, size_t limit) const override {
    return inner_->Jobs(before, limit);
  }
  absl::StatusOr<std::vector<core::ShardRow>> Shards(JobId job, uint32_t first,
                                                     size_t limit) const override {
    return inner_->Shards(job, first, limit);
  }
  absl::StatusOr<std::vector<store::AttemptRecord>> Attempts(JobId job, uint32_t first,
                                                             uint32_t last) const override {
    return inner_->Attempts(job, first, last);
  }
  absl::StatusOr<store::AttemptRecord> Attempt(AttemptId id) const override {
    return inner_->Attempt(id);
  }
  absl::StatusOr<std::vector<core::AuditRow>> AuditLog(uint64_t first,
                                                       size_t limit) const override {
    return inner_->AuditLog(first, limit);
  }

 private:
  absl::Status Write(const core::WriteBatch& batch) {
    const absl::Status status = inner_->Commit(batch);
    if (status.ok()) {
      checker_->Landed(batch);
    } else {
      checker_->Unknown(batch);
    }
    return status;
  }

  const std::unique_ptr<store::Store> inner_;
  Checker* const checker_;
  Seams* const seams_;
};

}  // namespace corpgrid::sim
