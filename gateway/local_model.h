#pragma once

#include <grpcpp/client_context.h>

#include <memory>
#include <string>
#include <thread>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "base/backoff.h"
#include "corpgrid/v1/worker.pb.h"
#include "gateway/model_directory.h"
#include "resources/resource_manager.h"
#include "worker/answer_room.h"
#include "worker/worker_process.h"

namespace corpgrid::gateway {

// One model, hosted by a worker on this machine. A worker that ends is followed by another one, as
// often as it takes. Any thread.
class LocalModel final : public ModelDirectory {
 public:
  struct Options {
    std::string program;  // corpgrid-worker
    std::string folder;   // for the worker's socket and log
    std::string name;
    corpgrid::v1::LoadRequest load;
    resources::ResourceManager* resources = nullptr;  // outlives it
  };

  // Returns once the model is loaded. Errors: why it cannot be.
  static absl::StatusOr<std::unique_ptr<LocalModel>> Start(Options options);
  ~LocalModel() override;

  // Ends the worker; the model is gone then.
  void Stop();

  std::vector<ModelInfo> List() const override;
  absl::Status Health() const override { return Find(options_.name).status(); }
  absl::StatusOr<Model> Find(const std::string& name) const override;

  // What Load said.
  corpgrid::v1::LoadResponse loaded() const;

 private:
  explicit LocalModel(Options options);

  void Run();
  // A worker that has the model. Null when it is to stop.
  absl::StatusOr<std::unique_ptr<worker::WorkerProcess>> Host();
  absl::Status Load(const std::string& address);
  // How the worker ended. Nothing when it is to stop.
  std::optional<std::string> Watch(worker::WorkerProcess* worker);
  bool StopsWithin(absl::Duration time);

  const Options options_;
  const int64_t created_s_;
  const std::shared_ptr<worker::AnswerRoom> room_ = std::make_shared<worker::AnswerRoom>();
  mutable absl::Mutex mutex_;
  std::shared_ptr<rpc::WorkerChannel> channel_ ABSL_GUARDED_BY(mutex_);  // null: not at the moment
  corpgrid::v1::LoadResponse loaded_ ABSL_GUARDED_BY(mutex_);
  grpc::ClientContext* loading_ ABSL_GUARDED_BY(mutex_) = nullptr;
  bool tried_ ABSL_GUARDED_BY(mutex_) = false;
  absl::Status first_ ABSL_GUARDED_BY(mutex_);  // what came of the first try
  std::string why_ ABSL_GUARDED_BY(mutex_);     // there is no channel
  bool stop_ ABSL_GUARDED_BY(mutex_) = false;
  std::thread thread_;  // workers die with it
};

}  // namespace corpgrid::gateway
