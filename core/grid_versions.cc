// What becomes of a device's leases when another version of its agent comes.

#include "core/grid.h"

namespace corpgrid::core {

// An older agent would be given its leases again, of which it may not understand the jobs. It is
// nobody's fault, and what was saved of them another device goes on from.
void Grid::TakeBackNotUnderstood(Device& device, Effects* effects) {
  for (const AttemptId id : std::vector<AttemptId>(device.leases)) {
    const Found found = FindAttempt(id);
    if (found.job->want.protocol <= device.row.protocol) continue;
    Abandon(found, AttemptState::kGivenBack, effects);
    Requeue(*found.job, *found.shard);
  }
}

}  // namespace corpgrid::core
