#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "core/host_report.h"
#include "rpc/worker_channel.h"
#include "scheduler/core_loop.h"
#include "scheduler/relay.h"

namespace corpgrid::scheduler {

// Who answers for a model now. Any thread but the core's.
class ModelDirectory {
 public:
  using Found = std::function<void(absl::StatusOr<std::shared_ptr<rpc::WorkerChannel>>)>;

  // Both must outlive it, and what it calls `found` for must be over.
  ModelDirectory(CoreLoop* loop, Relay* relay) : loop_(loop), relay_(relay) {}

  // Calls `found`, on the core's thread, with a channel to the replica that has least to do. Wakes
  // a model that is asleep. Errors: NotFound for a model that is not loaded; Unavailable, and why,
  // while it has no replica that can be asked.
  void Find(const std::string& model, Found found);

  // The way to a device's agent, for what rpc::IsForAgent() tells.
  std::shared_ptr<rpc::WorkerChannel> AgentOf(DeviceId device) {
    return relay_->ChannelTo(device, /*model=*/"");
  }

 private:
  CoreLoop* const loop_;
  Relay* const relay_;
};

}  // namespace corpgrid::scheduler
