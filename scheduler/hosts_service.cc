#include "scheduler/hosts_service.h"

#include <utility>

#include "rpc/status.h"
#include "scheduler/agent_messages.h"
#include "scheduler/hosting_messages.h"

namespace corpgrid::scheduler {
namespace {

namespace pb = corpgrid::v1;

// A stream that ends with an error before it has begun.
class RefusedStream final : public Relay::Reactor {
 public:
  explicit RefusedStream(const absl::Status& status) { Finish(rpc::ToGrpc(status)); }
  void OnDone() override { delete this; }
};

}  // namespace

grpc::ServerUnaryReactor* HostsService::Report(grpc::CallbackServerContext* context,
                                               const pb::HostReport* request,
                                               pb::HostOrders* response) {
  const auto agent = authenticator_->AuthenticateAgent(*context);
  auto* reactor = context->DefaultReactor();
  if (!agent.ok()) {
    reactor->Finish(rpc::ToGrpc(agent.status()));
    return reactor;
  }
  relay_->Heard(agent->device, clock_->MonotonicMs());
  core::ReportHost command{.report = ToReport(agent->device, *request),
                           .condition = ToCondition(request->condition())};
  loop_->Ask<core::HostOrders>(
      std::move(command),
      [reactor, response](const absl::StatusOr<core::HostOrders>& orders) {
        if (orders.ok()) ToMessage(*orders, response);
        reactor->Finish(rpc::ToGrpc(orders.status()));
      },
      CoreLoop::Haste::kSoon);
  return reactor;
}

scheduler::Relay::Reactor* HostsService::Relay(grpc::CallbackServerContext* context) {
  const auto agent = authenticator_->AuthenticateAgent(*context);
  if (!agent.ok()) return new RefusedStream(agent.status());
  return relay_->Attach(agent->device);
}

}  // namespace corpgrid::scheduler
