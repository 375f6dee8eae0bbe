#pragma once

#include <cstdint>

namespace corpgrid::runner::inside {

// Makes the process one that its sandbox cannot reach: nobody reads its memory, it dies with
// bubblewrap, and it is what the kernel kills first when memory is short. Ends the runner on
// failure.
void Harden();

// The made-up /etc, and with it everything outside the work folders read-only.
void FinishRoot();

// Bounds that shards inherit. `processes` counts threads too, as the kernel does.
void LimitResources(uint32_t processes);

// Keeps the one capability that new PID namespaces need, and makes sure that no child ever has
// more.
void DropCapabilities();

}  // namespace corpgrid::runner::inside
