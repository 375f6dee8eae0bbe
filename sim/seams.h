#pragma once

#include "absl/status/status.h"
#include "core/commands.h"
#include "core/rows.h"
#include "sim/messages.h"

namespace corpgrid::sim {

// Where the simulated scheduler's parts meet. Tests put deliberate bugs there, to see that the
// simulator finds them; otherwise nothing happens at a seam.
class Seams {
 public:
  virtual ~Seams() = default;

  virtual void BeforeApply(Body* /*body*/) {}
  virtual void AfterApply(core::Effects* /*effects*/) {}
  // Whether replies go out before their rows are committed.
  virtual bool RepliesEarly() { return false; }
  // Whether what removed jobs kept is deleted before their rows say so.
  virtual bool DeletesEarly() { return false; }
  // Between the core's side and the store. False: the store never hears of it, and all is said to
  // be well.
  virtual bool BeforeWrite(core::WriteBatch* /*rows*/) { return true; }
  virtual absl::Status AfterWrite(absl::Status status) { return status; }
  virtual void AfterLoad(core::Snapshot* /*snapshot*/) {}
};

}  // namespace corpgrid::sim
