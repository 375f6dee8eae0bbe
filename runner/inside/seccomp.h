#pragma once

namespace corpgrid::runner::inside {

// How the runner makes the init of a shard: the one use of namespace flags that the filter lets
// pass. A shard that copies it gets EPERM from the kernel, having no capability.
extern const int kInitCloneFlags;

// Filters the system calls of this process and of all its children, for good. The runner needs
// nothing that a shard may not do, so it installs the filter once for all shards: building one for
// each would cost more than starting a command. Ends the runner on failure.
void InstallFilter();

}  // namespace corpgrid::runner::inside
