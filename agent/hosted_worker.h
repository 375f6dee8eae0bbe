#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <thread>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "base/clock.h"
#include "corpgrid/v1/hosting.pb.h"
#include "corpgrid/v1/worker.grpc.pb.h"
#include "resources/resource_manager.h"
#include "rpc/worker_channel.h"
#include "worker/answer_room.h"
#include "worker/worker_process.h"

namespace corpgrid::agent {

// A model whose files are on this machine.
struct LocalModel {
  std::string name;
  std::string digest;  // SHA-256 of its files; 32 bytes
  std::string path;    // of the first file
  uint64_t bytes = 0;  // of all
};

// The model with weights of another type, which may be made first, for minutes; `on_progress` hears
// of 0..1. One call at a time. Errors: Cancelled once `stop` is true, and why it cannot be made.
using InType = std::function<absl::StatusOr<LocalModel>(
    const LocalModel& model, const std::string& type, const std::atomic<bool>& stop,
    const std::function<void(double fraction)>& on_progress)>;

// A worker with a model, from its start to its end, on a thread of its own. Any thread.
class HostedWorker {
 public:
  struct Options {
    std::string program;  // corpgrid-worker
    std::string folder;   // for its socket and log; made here
    corpgrid::v1::HostOrders::Model order;
    LocalModel model;
    InType in_type;  // null: with weights as its files have them only
    // What this worker may need, asked when its turn to load has come and again and again after.
    std::function<uint64_t()> limit_bytes;
    uint32_t gpu_percent = 0;  // of a GPU's memory that may be in use; 0: it has none
    absl::Mutex* making;       // workers of a device have `in_type` one after the other
    absl::Mutex* turn;         // and load one after the other
    resources::ResourceManager* resources;
    const Clock* clock;
  };

  explicit HostedWorker(Options options);
  ~HostedWorker();  // ends the worker; its memory is free then

  // Begins what the destructor waits for.
  void Stop();

  // Whether it is what `order` asks for.
  bool Follows(const corpgrid::v1::HostOrders::Model& order) const {
    return order.version() == options_.order.version();
  }

  corpgrid::v1::HostedModel State() const;
  // What of the machine's memory is spoken for and not in use yet. `promised`: in all, in use or
  // not.
  struct Memory {
    uint64_t promised = 0;
    uint64_t unused = 0;
  };
  Memory MemoryOf() const;

  // Null while it cannot be asked.
  std::shared_ptr<rpc::WorkerChannel> channel() const;

 private:
  void Run();
  absl::StatusOr<std::unique_ptr<worker::WorkerProcess>> Load();
  // What the worker is to load.
  absl::StatusOr<LocalModel> Files();
  // Locks it; false: this is to stop, and does not wait for it.
  bool Await(absl::Mutex* turn);
  uint64_t LimitBytes() const;
  absl::Status LoadInto(const worker::WorkerProcess& worker, const std::string& file);
  // Why it ended; empty when it was asked to.
  std::string Watch(worker::WorkerProcess* worker);
  void ReadStats(const corpgrid::v1::GetStatsResponse& stats);

  const Options options_;
  const std::shared_ptr<worker::AnswerRoom> room_ = std::make_shared<worker::AnswerRoom>();
  mutable absl::Mutex mutex_;
  uint64_t file_bytes_ ABSL_GUARDED_BY(mutex_);        // 0: they are not made yet
  uint64_t loaded_bytes_ ABSL_GUARDED_BY(mutex_) = 0;  // that it needs without embeddings
  corpgrid::v1::HostedModel state_ ABSL_GUARDED_BY(mutex_);
  std::shared_ptr<rpc::WorkerChannel> channel_ ABSL_GUARDED_BY(mutex_);
  std::shared_ptr<grpc::Channel> connection_ ABSL_GUARDED_BY(mutex_);
  grpc::ClientContext* loading_ ABSL_GUARDED_BY(mutex_) = nullptr;
  uint64_t answered_ ABSL_GUARDED_BY(mutex_) = 0;  // tokens and texts, when last busy
  int64_t busy_ms_ ABSL_GUARDED_BY(mutex_) = 0;    // when it was
  bool stop_ ABSL_GUARDED_BY(mutex_) = false;
  std::atomic<bool> stops_tools_ = false;  // with stop_
  std::thread thread_;                     // the worker dies with it
};

}  // namespace corpgrid::agent
