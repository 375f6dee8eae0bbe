#pragma once

#include <grpcpp/support/server_callback.h>

#include <cstdint>
#include <memory>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "corpgrid/v1/worker.pb.h"
#include "inference/engine_thread.h"
#include "inference/request.h"

namespace corpgrid::worker {

// A Generate call: hears of its answers and writes what is new whenever the last write is over, so
// that a slow reader gets more at a time and holds up nobody. What waits is at most what the
// answers may have, which the context bounds. Lives until the call is over. Any thread.
class GenerateStream final : public grpc::ServerWriteReactor<corpgrid::v1::GenerateResponse>,
                             public inference::Listener {
 public:
  GenerateStream(inference::EngineThread* engine, const inference::Vocabulary* vocabulary)
      : engine_(engine), vocabulary_(vocabulary) {}

  // Begins the work; `self` keeps the stream alive.
  void Start(inference::Request request, const std::shared_ptr<GenerateStream>& self);

  // Ends the call with an error before it has begun.
  static grpc::ServerWriteReactor<corpgrid::v1::GenerateResponse>* Fail(const absl::Status& status);

  void OnDelta(const inference::Delta& delta) override;
  void OnEnd(const inference::End& end) override;

  void OnWriteDone(bool ok) override;
  void OnCancel() override;
  void OnDone() override;

 private:
  // Starts a write, or ends the call, when there is something to be written, or nothing more.
  void GoOn() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  inference::EngineThread* const engine_;
  const inference::Vocabulary* const vocabulary_;
  std::shared_ptr<GenerateStream> self_;  // until OnDone

  absl::Mutex mutex_;
  corpgrid::v1::GenerateResponse waiting_ ABSL_GUARDED_BY(mutex_);
  corpgrid::v1::GenerateResponse written_ ABSL_GUARDED_BY(mutex_);
  absl::Status failed_ ABSL_GUARDED_BY(mutex_);
  uint64_t request_ ABSL_GUARDED_BY(mutex_) = 0;
  uint32_t choices_left_ ABSL_GUARDED_BY(mutex_) = 0;
  bool writing_ ABSL_GUARDED_BY(mutex_) = false;
  bool cancelled_ ABSL_GUARDED_BY(mutex_) = false;
  bool finished_ ABSL_GUARDED_BY(mutex_) = false;
};

}  // namespace corpgrid::worker
