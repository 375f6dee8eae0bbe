#pragma once

#include "corpgrid/v1/hosting.grpc.pb.h"
#include "scheduler/authenticate.h"
#include "scheduler/core_loop.h"
#include "scheduler/relay.h"

namespace corpgrid::scheduler {

// What agents that host models say and hear (proto/corpgrid/v1/hosting.proto). No call holds a
// thread. Any thread.
class HostsService final : public corpgrid::v1::Hosts::CallbackService {
 public:
  // All must outlive the service.
  HostsService(const Authenticator* authenticator, CoreLoop* loop, scheduler::Relay* relay,
               const Clock* clock)
      : authenticator_(authenticator), loop_(loop), relay_(relay), clock_(clock) {}

  grpc::ServerUnaryReactor* Report(grpc::CallbackServerContext* context,
                                   const corpgrid::v1::HostReport* request,
                                   corpgrid::v1::HostOrders* response) override;
  scheduler::Relay::Reactor* Relay(grpc::CallbackServerContext* context) override;

 private:
  const Authenticator* const authenticator_;
  CoreLoop* const loop_;
  scheduler::Relay* const relay_;
  const Clock* const clock_;
};

}  // namespace corpgrid::scheduler
