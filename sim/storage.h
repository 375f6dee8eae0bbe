#pragma once

#include <memory>

#include "absl/status/statusor.h"
#include "sim/faults.h"
#include "store/store.h"

namespace corpgrid::sim {

// The disk of the simulated scheduler and what opens a store on it. One thread.
class Storage {
 public:
  virtual ~Storage() = default;

  // The store with everything that survived. The last one must be gone.
  virtual absl::StatusOr<std::unique_ptr<store::Store>> Open() = 0;

  // Makes the next commit, or one soon after, meet `fault`: one of the disk's faults, or
  // kCrashInsideCommit, after which the storage is dead until Crash and Open.
  virtual void FailNextCommit(Fault fault) = 0;
  // Makes the next load fail.
  virtual void FailNextLoad() = 0;
  virtual bool dead() const = 0;
  // Takes back what these two ordered.
  virtual void Mend() = 0;

  // The program that has the store open is dead: nothing that the store still does has an effect.
  // With `torn` or `lost` the power failed as well: of the sectors that were not synced some are
  // half written, or were never.
  virtual void Crash(bool torn, bool lost) = 0;
};

}  // namespace corpgrid::sim
