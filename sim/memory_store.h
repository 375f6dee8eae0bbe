#pragma once

#include <memory>
#include <optional>

#include "sim/random.h"
#include "sim/storage.h"
#include "store/live_rows.h"

namespace corpgrid::sim {

// A store that is quick enough for simulated years, and fails like a disk does: a commit is there
// whole or not at all, and what was said of it may be wrong.
class MemoryStorage final : public Storage {
 public:
  explicit MemoryStorage(uint64_t seed) : random_(seed), rows_(NewGrid()) {}

  absl::StatusOr<std::unique_ptr<store::Store>> Open() override;
  void FailNextCommit(Fault fault) override { next_commit_ = fault; }
  void FailNextLoad() override { fail_load_ = true; }
  bool dead() const override { return down_; }
  void Mend() override;
  void Crash(bool torn, bool lost) override;

 private:
  friend class MemoryStore;

  static core::Snapshot NewGrid() {
    core::Snapshot grid;
    grid.meta.grid_id = "simulated";
    return grid;
  }

  absl::StatusOr<core::Snapshot> Load();
  absl::Status Commit(const core::WriteBatch& batch);

  Random random_;
  store::LiveRows rows_;
  std::optional<Fault> next_commit_;
  bool fail_load_ = false;
  bool down_ = false;
  // A commit that was refused but whose bytes may be on the disk: a crash decides.
  std::optional<core::WriteBatch> limbo_;
};

}  // namespace corpgrid::sim
