#include "scheduler/model_hosting_service.h"

#include <utility>

#include "rpc/status.h"
#include "scheduler/hosting_messages.h"
#include "scheduler/infer_stream.h"

namespace corpgrid::scheduler {
namespace pb = corpgrid::v1;

grpc::ServerUnaryReactor* ModelHostingService::Do(grpc::CallbackServerContext* context,
                                                  const absl::Status& who, CoreLoop::Body command) {
  auto* reactor = context->DefaultReactor();
  if (!who.ok()) {
    reactor->Finish(rpc::ToGrpc(who));
    return reactor;
  }
  loop_->Submit(std::move(command), [reactor](const core::Reply& reply) {
    reactor->Finish(rpc::ToGrpc(std::get<absl::Status>(reply)));
  });
  return reactor;
}

template <typename Fill>
grpc::ServerUnaryReactor* ModelHostingService::View(grpc::CallbackServerContext* context,
                                                    const absl::Status& who, Fill fill) {
  auto* reactor = context->DefaultReactor();
  if (!who.ok()) {
    reactor->Finish(rpc::ToGrpc(who));
    return reactor;
  }
  loop_->Ask<core::HostingView>(core::ViewHosting{},
                                [reactor, fill](const absl::StatusOr<core::HostingView>& view) {
                                  if (view.ok()) fill(*view);
                                  reactor->Finish(rpc::ToGrpc(view.status()));
                                });
  return reactor;
}

grpc::ServerUnaryReactor* ModelHostingService::Load(grpc::CallbackServerContext* context,
                                                    const pb::LoadModelRequest* request,
                                                    pb::LoadModelResponse*) {
  const absl::Status who = authenticator_->AuthenticatePerson(*context);
  return Do(context, who, core::LoadModel{ToRow(*request)});
}

grpc::ServerUnaryReactor* ModelHostingService::Unload(grpc::CallbackServerContext* context,
                                                      const pb::UnloadModelRequest* request,
                                                      pb::UnloadModelResponse*) {
  const absl::Status who = authenticator_->AuthenticatePerson(*context);
  return Do(context, who, core::UnloadModel{request->name()});
}

grpc::ServerUnaryReactor* ModelHostingService::List(grpc::CallbackServerContext* context,
                                                    const pb::ListModelsRequest*,
                                                    pb::ListModelsResponse* response) {
  const absl::Status who = authenticator_->AuthenticatePerson(*context);
  return View(context, who, [response](const core::HostingView& view) {
    for (const core::ModelView& model : view.models) ToMessage(model, response->add_models());
  });
}

grpc::ServerUnaryReactor* ModelHostingService::ClusterResources(
    grpc::CallbackServerContext* context, const pb::ClusterResourcesRequest*,
    pb::ClusterResourcesResponse* response) {
  const absl::Status who = authenticator_->AuthenticatePerson(*context);
  return View(context, who,
              [response](const core::HostingView& view) { ToMessage(view.hosts, response); });
}

grpc::ServerWriteReactor<pb::GenerateResponse>* ModelHostingService::Infer(
    grpc::CallbackServerContext* context, const pb::InferRequest* request) {
  const absl::Status who = authenticator_->AuthenticatePerson(*context);
  return InferStream::Begin(directory_, *request, who);
}

}  // namespace corpgrid::scheduler
