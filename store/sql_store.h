#pragma once

#include <functional>
#include <initializer_list>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "store/columns.h"
#include "store/store.h"

namespace corpgrid::store {

// What the stores on SQL databases have in common: all that is asked, in SQL that each of them
// takes ($1, $2 … are its parameters, in the order of their first use).
class SqlStore : public Store {
 public:
  absl::StatusOr<core::Snapshot> Load() override;
  absl::Status Commit(const core::WriteBatch& batch) final;
  absl::StatusOr<std::vector<core::JobRow>> Jobs(JobId before, size_t limit) const final;
  absl::StatusOr<core::JobRow> Job(JobId id) const final;
  absl::StatusOr<std::vector<core::ShardRow>> Shards(JobId job, uint32_t first,
                                                     size_t limit) const final;
  absl::StatusOr<std::vector<AttemptRecord>> Attempts(JobId job, uint32_t first,
                                                      uint32_t last) const final;
  absl::StatusOr<AttemptRecord> Attempt(AttemptId id) const final;
  absl::StatusOr<std::vector<core::AuditRow>> AuditLog(uint64_t first, size_t limit) const final;

  // For copying a store (store/copy.h). The thread that commits.
  // Gives every row of a table, by key; jobs come with their progress.
  template <typename Row>
  absl::Status ForEach(const std::function<absl::Status(const Row&)>& use);
  absl::StatusOr<uint64_t> CountRows(std::string_view table);
  // As Commit, but a meta row makes the store that row's grid's.
  absl::Status Adopt(const core::WriteBatch& batch);

 protected:
  // On the connection of the thread that commits.
  virtual absl::Status Ask(std::string_view sql, std::span<const int64_t> numbers,
                           const OnRow& on_row) = 0;
  // On a connection for reading. Any thread.
  virtual absl::Status AskReader(std::string_view sql, std::span<const int64_t> numbers,
                                 const OnRow& on_row) const = 0;
  // Writes all rows in one transaction, parents before their children; a later row replaces an
  // earlier one of the same key.
  virtual absl::Status Write(const core::WriteBatch& batch) = 0;

  // Reads the grid's id, after giving a new store one. To be called by the one who opens. Errors:
  // FailedPrecondition for what a copy that did not finish has left.
  absl::Status ReadGridId();

 private:
  std::string grid_id_;
};

}  // namespace corpgrid::store
