#pragma once

#include "corpgrid/v1/hosting.grpc.pb.h"
#include "scheduler/authenticate.h"
#include "scheduler/core_loop.h"
#include "scheduler/model_directory.h"

namespace corpgrid::scheduler {

// What people ask of models (proto/corpgrid/v1/hosting.proto). No call holds a thread. Any thread.
class ModelHostingService final : public corpgrid::v1::ModelHosting::CallbackService {
 public:
  // All must outlive the service.
  ModelHostingService(const Authenticator* authenticator, CoreLoop* loop, ModelDirectory* directory)
      : authenticator_(authenticator), loop_(loop), directory_(directory) {}

  grpc::ServerUnaryReactor* Load(grpc::CallbackServerContext* context,
                                 const corpgrid::v1::LoadModelRequest* request,
                                 corpgrid::v1::LoadModelResponse* response) override;
  grpc::ServerUnaryReactor* Unload(grpc::CallbackServerContext* context,
                                   const corpgrid::v1::UnloadModelRequest* request,
                                   corpgrid::v1::UnloadModelResponse* response) override;
  grpc::ServerUnaryReactor* List(grpc::CallbackServerContext* context,
                                 const corpgrid::v1::ListModelsRequest* request,
                                 corpgrid::v1::ListModelsResponse* response) override;
  grpc::ServerUnaryReactor* ClusterResources(
      grpc::CallbackServerContext* context, const corpgrid::v1::ClusterResourcesRequest* request,
      corpgrid::v1::ClusterResourcesResponse* response) override;
  grpc::ServerWriteReactor<corpgrid::v1::GenerateResponse>* Infer(
      grpc::CallbackServerContext* context, const corpgrid::v1::InferRequest* request) override;
  grpc::ServerWriteReactor<corpgrid::v1::CallResponse>* Call(
      grpc::CallbackServerContext* context, const corpgrid::v1::CallRequest* request) override;

 private:
  // Both answer with `who` where that is an error.
  // Answers with the command's status.
  grpc::ServerUnaryReactor* Do(grpc::CallbackServerContext* context, const absl::Status& who,
                               CoreLoop::Body command);
  // Answers with what `fill` makes of the core's view.
  template <typename Fill>
  grpc::ServerUnaryReactor* View(grpc::CallbackServerContext* context, const absl::Status& who,
                                 Fill fill);

  const Authenticator* const authenticator_;
  CoreLoop* const loop_;
  ModelDirectory* const directory_;
};

}  // namespace corpgrid::scheduler
