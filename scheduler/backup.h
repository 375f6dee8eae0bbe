#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "absl/status/statusor.h"

namespace corpgrid::scheduler {

// What a backup holds: a tar archive with a consistent copy of the state, the objects' index and
// the chunks that it names, and the scheduler's keys; and last, so that what was cut off is none,
// manifest.json with the sizes and BLAKE3 hashes of the rest (a chunk's name is its hash).
struct BackupReport {
  std::string grid_id = "";
  uint64_t jobs = 0;
  uint64_t chunks = 0;  // of large objects; the small ones are in the index
  uint64_t bytes = 0;
};

using BackupProgress = std::function<void(uint64_t done_bytes, uint64_t total_bytes)>;

// Writes a backup of the grid in `data_folder` to `file`, 0600, for it holds keys; it appears when
// it is whole. The scheduler may run meanwhile, unless `store` (empty: SQLite in the data folder)
// is a PostgreSQL database. Errors: NotFound when there is no grid, AlreadyExists when there is a
// `file`, or a scheduler leads the PostgreSQL store, ResourceExhausted when the disk is full,
// Aborted when jobs are removed faster than they can be copied, DataLoss for damaged objects.
absl::StatusOr<BackupReport> Backup(const std::string& data_folder, const std::string& store,
                                    const std::string& file, const BackupProgress& progress);

// Makes `data_folder`, which must not be there or be empty, from a backup; with `store`, an empty
// PostgreSQL database, the state goes there. All is verified before the folder appears. Errors:
// FailedPrecondition when the folder or store is not empty, DataLoss when the file is not whole, or
// no backup, or not as it was written, ResourceExhausted when the disk is full.
absl::StatusOr<BackupReport> Restore(const std::string& file, const std::string& data_folder,
                                     const std::string& store, const BackupProgress& progress);

}  // namespace corpgrid::scheduler
