#pragma once

#include <grpcpp/support/server_callback.h>

#include <atomic>
#include <deque>
#include <thread>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "corpgrid/v1/worker.pb.h"
#include "worker/host.h"

namespace corpgrid::worker {

// Answers Embed calls on a thread of its own, one text after the other. A call that is cancelled
// ends before its next text. Any thread.
class EmbedThread {
 public:
  static constexpr size_t kMaxWaiting = 256;  // calls

  explicit EmbedThread(decltype(HostedModel::embed) embed);
  ~EmbedThread() { Stop(); }

  // The reactor of a call; `request` and `response` are gRPC's, as long as the call lasts.
  grpc::ServerUnaryReactor* Start(const corpgrid::v1::EmbedRequest* request,
                                  corpgrid::v1::EmbedResponse* response);

  // Texts that were turned into vectors so far.
  uint64_t embedded() const { return embedded_; }
  bool busy() const { return busy_; }

  // Fails what is left, and everything from then on; again does nothing.
  void Stop();

 private:
  class Call;

  void Run();
  void Compute(Call* call);

  const decltype(HostedModel::embed) embed_;
  absl::Mutex mutex_;
  absl::Mutex stopping_;
  std::deque<Call*> waiting_ ABSL_GUARDED_BY(mutex_);
  bool stop_ ABSL_GUARDED_BY(mutex_) = false;
  std::atomic<uint64_t> embedded_ = 0;
  std::atomic<bool> busy_ = false;
  std::thread thread_;
};

}  // namespace corpgrid::worker
