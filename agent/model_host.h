#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "agent/hosted_worker.h"
#include "agent/model_inbox.h"
#include "base/clock.h"
#include "corpgrid/v1/hosting.pb.h"
#include "inference/gpu.h"
#include "rpc/worker_channel.h"

namespace corpgrid::agent {

// Hosts the models that the scheduler orders, a worker process each. Any thread.
class ModelHost {
 public:
  struct Options {
    std::string worker_path;   // the corpgrid-worker program
    std::string folder;        // for workers' sockets and logs
    uint64_t limit_bytes = 0;  // that models may have together
    // Errors: what is there cannot be told now, and counts as it was.
    std::function<absl::StatusOr<std::vector<LocalModel>>()> held;
    InType in_type;                             // null: weights are as the files have them
    std::function<uint64_t()> available_bytes;  // of the machine's memory, for new programs
    // The machine's; their drivers take a while to tell. Null: none is used.
    std::function<absl::StatusOr<std::vector<inference::Gpu>>()> gpus;
    ModelFolder sent = {};  // for models that are sent to it
    resources::ResourceManager* resources = nullptr;
    const Clock* clock = nullptr;
  };

  explicit ModelHost(Options options)
      : options_(std::move(options)),
        inbox_(std::make_shared<ModelInbox>(options_.sent, options_.resources)) {}
  ~ModelHost();  // unloads all

  corpgrid::v1::HostReport Report();

  // Loads what is ordered and not here, and unloads the rest: returns when its memory is free. A
  // model that failed is tried again when it is ordered anew, after it was not.
  void Follow(const corpgrid::v1::HostOrders& orders);

  // Null while this device cannot be asked for the model.
  std::shared_ptr<rpc::WorkerChannel> ChannelTo(const std::string& model) const;

  // For the calls that the agent itself answers.
  std::shared_ptr<rpc::WorkerChannel> inbox() const { return inbox_; }

 private:
  std::vector<LocalModel> Held();
  void LookAtGpus();
  // Beside what the workers of other models than `but` were promised.
  uint64_t FreeBytes(const std::string& but = "") const ABSL_SHARED_LOCKS_REQUIRED(mutex_);

  const Options options_;
  const std::shared_ptr<ModelInbox> inbox_;
  absl::Mutex making_;
  absl::Mutex turn_;
  mutable absl::Mutex mutex_;
  std::map<std::string, std::unique_ptr<HostedWorker>> workers_ ABSL_GUARDED_BY(mutex_);
  uint64_t folders_ ABSL_GUARDED_BY(mutex_) = 0;
  std::vector<LocalModel> held_ ABSL_GUARDED_BY(mutex_);  // when it was last told
  std::vector<corpgrid::v1::Gpu> gpus_ ABSL_GUARDED_BY(mutex_);
  int64_t next_look_ms_ ABSL_GUARDED_BY(mutex_) = 0;  // at these
};

}  // namespace corpgrid::agent
