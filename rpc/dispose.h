#pragma once

#include <memory>

namespace corpgrid::rpc {

// Lets go of what may hold the last reference to a channel, on a thread of our own. A channel that
// goes on one of the threads that gRPC 1.51 calls callbacks on ends these threads and waits for
// them, itself among them, and the process is aborted. Any thread; returns at once.
void DisposeElsewhere(std::shared_ptr<void> object);

}  // namespace corpgrid::rpc
