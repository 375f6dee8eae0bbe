#pragma once

#include <memory>
#include <optional>
#include <thread>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "base/clock.h"
#include "corpgrid/v1/worker.grpc.pb.h"
#include "inference/engine_thread.h"
#include "worker/embed_thread.h"
#include "worker/host.h"

namespace corpgrid::worker {

// What a worker answers (proto/corpgrid/v1/worker.proto). No call holds a thread while a model is
// loaded or computes. Any thread. The server has to be shut down, and its calls be over, before it
// goes.
class WorkerService final : public corpgrid::v1::Worker::CallbackService {
 public:
  // `clock` must outlive the service.
  WorkerService(ModelLoader loader, const Clock* clock);
  ~WorkerService() override;

  grpc::ServerUnaryReactor* Load(grpc::CallbackServerContext* context,
                                 const corpgrid::v1::LoadRequest* request,
                                 corpgrid::v1::LoadResponse* response) override;
  grpc::ServerWriteReactor<corpgrid::v1::GenerateResponse>* Generate(
      grpc::CallbackServerContext* context, const corpgrid::v1::GenerateRequest* request) override;
  grpc::ServerUnaryReactor* RenderChat(grpc::CallbackServerContext* context,
                                       const corpgrid::v1::RenderChatRequest* request,
                                       corpgrid::v1::RenderChatResponse* response) override;
  grpc::ServerUnaryReactor* Tokenize(grpc::CallbackServerContext* context,
                                     const corpgrid::v1::TokenizeRequest* request,
                                     corpgrid::v1::TokenizeResponse* response) override;
  grpc::ServerUnaryReactor* Embed(grpc::CallbackServerContext* context,
                                  const corpgrid::v1::EmbedRequest* request,
                                  corpgrid::v1::EmbedResponse* response) override;
  grpc::ServerUnaryReactor* Describe(grpc::CallbackServerContext* context,
                                     const corpgrid::v1::DescribeRequest* request,
                                     corpgrid::v1::LoadResponse* response) override;
  grpc::ServerUnaryReactor* GetStats(grpc::CallbackServerContext* context,
                                     const corpgrid::v1::GetStatsRequest* request,
                                     corpgrid::v1::GetStatsResponse* response) override;

  // Fails what is being computed, so that its calls end. The model is gone then.
  void Stop();

 private:
  struct Loaded {
    HostedModel model;
    std::unique_ptr<inference::EngineThread> engine;  // null: the model generates no text
    std::unique_ptr<EmbedThread> embedder;            // null: the model makes no embeddings
  };

  absl::StatusOr<std::shared_ptr<Loaded>> LoadNow(const corpgrid::v1::LoadRequest& request);
  absl::StatusOr<std::shared_ptr<Loaded>> Current() const;

  const ModelLoader loader_;
  const Clock* const clock_;
  mutable absl::Mutex mutex_;
  bool asked_to_load_ ABSL_GUARDED_BY(mutex_) = false;
  std::shared_ptr<Loaded> loaded_ ABSL_GUARDED_BY(mutex_);
  std::thread loading_;
};

}  // namespace corpgrid::worker
