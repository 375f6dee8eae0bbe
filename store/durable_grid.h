#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/clock.h"
#include "core/grid.h"
#include "store/store.h"

namespace corpgrid::store {

// A core::Grid whose changes are in a store before anyone hears of them (group commit): Apply any
// number of commands, Commit their rows in one transaction, then let out what the effects say. One
// thread.
class DurableGrid {
 public:
  using Body = decltype(core::Command::body);
  // What a command's tokens are made from: unguessable, different at each call.
  using Seeds = std::function<std::array<uint8_t, 32>()>;

  // Reads the state. `store` and `clock` must outlive the object. Errors: those of Store::Load and
  // Grid::Load.
  static absl::StatusOr<std::unique_ptr<DurableGrid>> Load(const core::GridConfig& config,
                                                           Store* store, const Clock* clock,
                                                           Seeds seeds);

  // Applies `bodies` in their order, all at one grid time. The rows wait for Commit, so those of
  // the effects are empty.
  std::vector<core::Effects> Apply(std::vector<Body> bodies);

  // Writes the rows of everything applied since the last Commit; nothing to write is OK. After an
  // error memory knows what the store may not, so nothing is written any more until Reload.
  absl::Status Commit();

  // Reads memory back from the store. True when the commit that failed had landed all the same, so
  // that its effects count. On an error nothing has changed: try again. Errors: those of Load, and
  // DataLoss when the audit log's tree is another one than this object has committed.
  absl::StatusOr<bool> Reload();

  // Grid time goes on as if the last `ms` had not been.
  void LeaveOut(int64_t ms) { time_offset_ms_ -= ms; }

  const core::Grid& grid() const { return *grid_; }

 private:
  DurableGrid(const core::GridConfig& config, Store* store, const Clock* clock, Seeds seeds)
      : config_(config), store_(store), clock_(clock), seeds_(std::move(seeds)) {}

  absl::Status CheckTree(const core::MetaRow& stored) const;
  int64_t GridTimeMs() const { return clock_->MonotonicMs() + time_offset_ms_; }

  const core::GridConfig config_;
  Store* const store_;
  const Clock* const clock_;
  const Seeds seeds_;
  std::unique_ptr<core::Grid> grid_;
  core::WriteBatch rows_;       // that wait for Commit
  bool stale_ = false;          // a commit failed and memory was not read back
  int64_t time_offset_ms_ = 0;  // grid time less the machine's monotonic time
  core::MetaRow committed_;     // as of the last commit that is known to have landed
  core::MetaRow tried_;         // of the last commit
};

}  // namespace corpgrid::store
