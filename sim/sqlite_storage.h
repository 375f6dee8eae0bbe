#pragma once

#include <memory>
#include <string>

#include "base/testing/temp_folder.h"
#include "sim/faulty_disk.h"
#include "sim/storage.h"

namespace corpgrid::sim {

// The store that the daemon uses, on a disk that fails. One at a time.
class SqliteStorage final : public Storage {
 public:
  explicit SqliteStorage(uint64_t seed) : random_(seed), disk_(seed + 1) {}

  absl::StatusOr<std::unique_ptr<store::Store>> Open() override;
  void FailNextCommit(Fault fault) override;
  void FailNextLoad() override { disk_.FailRead(); }
  bool dead() const override { return !disk_.powered(); }
  void Mend() override { disk_.Mend(); }
  void Crash(bool torn, bool lost) override { disk_.Crash(torn, lost); }

 private:
  Random random_;
  corpgrid::testing::TempFolder folder_;  // of the lock file, the one file that is real
  FaultyDisk disk_;
};

}  // namespace corpgrid::sim
