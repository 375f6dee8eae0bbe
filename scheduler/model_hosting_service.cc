#include "scheduler/model_hosting_service.h"

#include <algorithm>
#include <utility>

#include "base/text.h"
#include "crypto/hex.h"
#include "crypto/signature.h"
#include "fmt/format.h"
#include "rpc/connect.h"
#include "rpc/status.h"
#include "scheduler/forward_stream.h"
#include "scheduler/hosting_messages.h"
#include "scheduler/waiting_channel.h"

namespace corpgrid::scheduler {
namespace pb = corpgrid::v1;
namespace {

// It is wrapped once more on its way to the device, whose stream takes no more.
constexpr size_t kMost = rpc::kMaxMessageBytes - 4096;
// Of a model that is sent, with the names of its files: answers must not wait long for it.
constexpr size_t kMostToAgent = 2 << 20;

template <typename Request>
absl::Status CheckSize(const Request& request, size_t most = kMost) {
  if (request.ByteSizeLong() <= most) return absl::OkStatus();
  return absl::InvalidArgumentError(fmt::format("the request has {}; at most {} are passed on",
                                                FormatBytes(request.ByteSizeLong()),
                                                FormatBytes(most)));
}

// Logs tell requests apart by such names; the gateway gives its own.
bool CanBeLogged(const std::string& request_id) {
  return !request_id.empty() && request_id.size() <= 64 &&
         std::all_of(request_id.begin(), request_id.end(),
                     [](char c) { return c > ' ' && c < 127; });
}

}  // namespace

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
  absl::Status who = authenticator_->AuthenticatePerson(*context);
  if (who.ok()) who = CheckSize(*request);
  pb::InferRequest named;
  if (who.ok()) {
    named = *request;
    std::string* const id = named.mutable_generate()->mutable_request_id();
    if (!CanBeLogged(*id)) *id = "inf_" + crypto::ToHex(crypto::RandomBytes(12));
  }
  auto stream = std::make_shared<InferStream>(
      std::make_shared<WaitingChannel>(directory_, request->model()), std::move(named));
  who.ok() ? stream->BeginInference() : stream->Refuse(who);
  return stream.get();
}

grpc::ServerWriteReactor<pb::CallResponse>* ModelHostingService::Call(
    grpc::CallbackServerContext* context, const pb::CallRequest* request) {
  absl::Status allowed = authenticator_->AuthenticatePerson(*context);
  const bool to_agent = request->device_id() != 0;
  if (allowed.ok() &&
      !(to_agent ? rpc::IsForAgent(request->method()) : rpc::IsAnswer(request->method()))) {
    allowed = absl::PermissionDeniedError(fmt::format("{} are not asked for \"{}\" from afar",
                                                      to_agent ? "agents" : "workers",
                                                      request->method()));
  }
  if (allowed.ok()) allowed = CheckSize(*request, to_agent ? kMostToAgent : kMost);
  std::shared_ptr<rpc::WorkerChannel> channel;
  if (to_agent) {
    channel = directory_->AgentOf(DeviceId{request->device_id()});
  } else {
    channel = std::make_shared<WaitingChannel>(directory_, request->model());
  }
  auto stream = std::make_shared<CallStream>(std::move(channel));
  allowed.ok() ? stream->Begin(request->method(), request->request()) : stream->Refuse(allowed);
  return stream.get();
}

}  // namespace corpgrid::scheduler
