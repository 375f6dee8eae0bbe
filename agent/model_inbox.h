#pragma once

#include <atomic>
#include <deque>
#include <functional>
#include <memory>
#include <string>
#include <thread>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "corpgrid/v1/hosting.pb.h"
#include "resources/resource_manager.h"
#include "rpc/worker_channel.h"

namespace corpgrid::agent {

// What an agent does with models that are sent to it; on one thread.
struct ModelFolder {
  // Errors: Cancelled once `stop` is true, and why it cannot be had.
  std::function<absl::StatusOr<corpgrid::v1::TakeModelResponse>(
      const corpgrid::v1::TakeModelRequest&, const std::atomic<bool>& stop)>
      take;  // null: it takes none
  std::function<absl::Status(const std::string& model)> remove;
};

// Answers the calls that are for the agent itself (rpc::IsForAgent()), one after the other, on a
// thread of its own: a disk is slow, and the stream that they come by must not wait. Any thread.
class ModelInbox final : public rpc::WorkerChannel {
 public:
  // `resources`, which may be null, must outlive it.
  ModelInbox(ModelFolder folder, resources::ResourceManager* resources);
  ~ModelInbox() override;  // ends what is being done; the rest is Unavailable

  bool receives() const { return folder_.take != nullptr; }

  // What was asked for is done, even if nobody waits for it any more.
  std::unique_ptr<rpc::WorkerCall> Start(std::string_view method, const std::string& request,
                                         std::shared_ptr<rpc::CallListener> listener) override;

 private:
  struct Call {
    std::string method;
    std::string request;
    std::shared_ptr<rpc::CallListener> listener;
  };

  void Run();
  absl::Status Answer(const Call& call) const;
  bool HasSomething() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    return stop_ || !waiting_.empty();
  }

  const ModelFolder folder_;
  resources::ResourceManager* const resources_;
  absl::Mutex mutex_;
  std::deque<Call> waiting_ ABSL_GUARDED_BY(mutex_);
  std::atomic<bool> stop_ = false;
  std::thread thread_;
};

}  // namespace corpgrid::agent
