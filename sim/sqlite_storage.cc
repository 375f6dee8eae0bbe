#include "sim/sqlite_storage.h"

namespace corpgrid::sim {
namespace {

// Writes and syncs: about as many as a commit makes, and as many as there are from one checkpoint
// to the next, so that checkpoints are interrupted, too.
constexpr uint64_t kOfACommit = 16;
constexpr uint64_t kOfACheckpoint = 6'000;

}  // namespace

absl::StatusOr<std::unique_ptr<store::Store>> SqliteStorage::Open() {
  return store::OpenSqlite(folder_ / "state.db");
}

void SqliteStorage::FailNextCommit(Fault fault) {
  const bool soon = random_.Below(2) == 0;
  const uint64_t operations = random_.Below(soon ? kOfACommit : kOfACheckpoint);
  switch (fault) {
    case Fault::kDiskFull:
      return disk_.FailWrite(operations, SQLITE_FULL);
    case Fault::kSyncError:
      return disk_.FailSync(/*does_it=*/false);
    case Fault::kCommitOutcomeUnknown:
      return disk_.FailSync(/*does_it=*/true);
    case Fault::kCrashInsideCommit:
      return disk_.CutPower(operations);
    default:
      return disk_.FailWrite(operations, SQLITE_IOERR_WRITE);
  }
}

}  // namespace corpgrid::sim
