#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "core/grid.h"
#include "core/rows.h"

namespace corpgrid::store {

// An attempt and, once handed in, its result.
struct AttemptRecord {
  core::AttemptRow attempt;
  std::optional<core::ResultRow> result;
};

// The durable state. Load and Commit: one thread (the one that owns the core). The reads: any
// thread, at any time; they see what was committed.
class Store {
 public:
  virtual ~Store() = default;

  // Everything the core needs to go on. A new store has a fresh grid id and is otherwise empty.
  virtual absl::StatusOr<core::Snapshot> Load() = 0;

  // Writes all rows in one transaction; durable on OK. The grid id of a store never changes. On an
  // error nothing or everything was written: Load() tells (MetaRow::batch). The store stays usable.
  // Errors: ResourceExhausted when the disk is full, DataLoss when the file is damaged,
  // InvalidArgument for another grid's batch, Internal for rows without the ones they belong to (a
  // shard's job, an attempt's shard and device, a result's attempt), Aborted for good once another
  // scheduler leads, Unavailable otherwise.
  virtual absl::Status Commit(const core::WriteBatch& batch) = 0;

  // The grid of what Load would give, where it was built ahead; else null. To be asked before the
  // first Load. Errors: those of Load.
  virtual absl::StatusOr<std::unique_ptr<core::Grid>> LoadBuilt() { return nullptr; }

  // OK while no other scheduler can have written since the last call to this store. Unavailable
  // when that is not known: the lead ran out before it could be shown again. Aborted, which it
  // stays: another scheduler leads and this one has to end; Load and Commit answer the same then.
  // Any thread.
  virtual absl::Status Standing() const { return absl::OkStatus(); }

  // Grows with each scheduler that takes the lead; 0 for a store that only one process can open.
  virtual int64_t Term() const { return 0; }

  // Of a job that is removed (core::JobState::kRemoved) the reads by job or attempt know nothing.
  // Jobs with an id below `before` (0: all), newest first.
  virtual absl::StatusOr<std::vector<core::JobRow>> Jobs(JobId before, size_t limit) const = 0;
  // Errors: NotFound.
  virtual absl::StatusOr<core::JobRow> Job(JobId id) const = 0;
  // Shards that have a row, from index `first` on.
  virtual absl::StatusOr<std::vector<core::ShardRow>> Shards(JobId job, uint32_t first,
                                                             size_t limit) const = 0;
  // The attempts of the shards `first` to `last` inclusive, by shard and id. The log tails are left
  // out.
  virtual absl::StatusOr<std::vector<AttemptRecord>> Attempts(JobId job, uint32_t first,
                                                              uint32_t last) const = 0;
  // One attempt with everything. Errors: NotFound.
  virtual absl::StatusOr<AttemptRecord> Attempt(AttemptId id) const = 0;
  // Entries of the audit log from index `first` on.
  virtual absl::StatusOr<std::vector<core::AuditRow>> AuditLog(uint64_t first,
                                                               size_t limit) const = 0;
};

// SQLite in WAL mode, synchronous=FULL, at `path`; created when it does not exist, migrated when it
// is older. Errors: FailedPrecondition when it is newer than this program or another process has it
// open.
absl::StatusOr<std::unique_ptr<Store>> OpenSqlite(const std::string& path);

// A PostgreSQL database that exists, at postgres://USER@HOST:PORT/DATABASE; takes the lead. Its
// tables are made when it is empty, and migrated, once it leads, when they are older. Errors:
// AlreadyExists while another scheduler leads, InvalidArgument for a URL that cannot be read,
// FailedPrecondition when the database does not exist, is not in UTF-8, is newer than this program
// or another program's; those of the server. With a `follower` of the same database, which must
// outlive the store, the first Load ends that and takes what it has kept.
class Follower;
absl::StatusOr<std::unique_ptr<Store>> OpenPostgres(const std::string& url,
                                                    Follower* follower = nullptr);

// Whether `store` is the URL of a PostgreSQL database rather than the path of a SQLite file.
bool IsPostgresUrl(std::string_view store);

// Opens whichever it is; `follower` is for PostgreSQL.
absl::StatusOr<std::unique_ptr<Store>> Open(const std::string& path_or_url,
                                            Follower* follower = nullptr);

}  // namespace corpgrid::store
