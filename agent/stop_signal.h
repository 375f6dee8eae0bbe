#pragma once

#include <grpcpp/client_context.h>

#include <atomic>
#include <cstdint>
#include <unordered_set>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"

namespace corpgrid::agent {

// Tells many threads at once to end: wakes those that sleep and cancels their calls. Any thread.
class StopSignal {
 public:
  // For good. Calls that are under way end with CANCELLED, later ones at once.
  void Stop();
  bool stopped() const { return stopped_.load(std::memory_order_acquire); }

  // Sleeps for `ms` or until Stop(); returns stopped().
  bool WaitFor(int64_t ms);

  // Makes Stop() cancel a call for as long as this lives.
  class Scope {
   public:
    Scope(StopSignal* signal, grpc::ClientContext* context);
    ~Scope();
    Scope(const Scope&) = delete;
    Scope& operator=(const Scope&) = delete;

   private:
    StopSignal* signal_;
    grpc::ClientContext* context_;
  };

 private:
  std::atomic<bool> stopped_ = false;
  absl::Mutex mutex_;
  absl::CondVar changed_;
  std::unordered_set<grpc::ClientContext*> calls_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace corpgrid::agent
