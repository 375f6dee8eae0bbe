#pragma once

#include <grpcpp/support/server_callback.h>

#include <atomic>
#include <map>
#include <optional>
#include <thread>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "corpgrid/v1/worker.pb.h"
#include "inference/fair_queue.h"
#include "worker/host.h"

namespace corpgrid::worker {

// Answers Embed calls on a thread of its own, one text after the other, fair between clients. A
// call that is cancelled ends before its next text. Any thread.
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
  size_t calls() const;  // that have not ended

  // Fails what is left, and everything from then on; again does nothing.
  void Stop();

 private:
  class Call;

  void Run();
  // Waits for a call whose turn it is; null once it is to stop.
  Call* Next();
  // Its next text. How the call ends, where that was its last.
  std::optional<absl::Status> Compute(Call* call);

  const decltype(HostedModel::embed) embed_;
  mutable absl::Mutex mutex_;
  absl::Mutex stopping_;
  inference::FairQueue queue_ ABSL_GUARDED_BY(mutex_);       // who is next
  std::map<uint64_t, Call*> calls_ ABSL_GUARDED_BY(mutex_);  // that have not ended
  std::atomic<uint64_t> last_id_ = 0;
  bool stop_ ABSL_GUARDED_BY(mutex_) = false;
  std::atomic<uint64_t> embedded_ = 0;
  std::thread thread_;
};

}  // namespace corpgrid::worker
