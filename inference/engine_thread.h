#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "inference/engine.h"

namespace corpgrid::inference {

// Runs an engine on a thread of its own, step after step while there is something to do. Any
// thread.
class EngineThread {
 public:
  explicit EngineThread(std::unique_ptr<Engine> engine);
  ~EngineThread();

  // Fails what is left, and everything from then on; again does nothing. Not on a listener's call.
  void Stop();

  // The request's number. Errors: what is wrong with it, when Engine::Check() does not allow it;
  // Unavailable after Stop(). From then on the listener hears of it.
  absl::StatusOr<uint64_t> Submit(Request request, std::shared_ptr<Listener> listener);

  // Nobody waits for the request any more; nothing happens when it has ended.
  void Cancel(uint64_t id);

  // As of the last step.
  EngineStats stats() const;

  // Engine::ThinkingMs().
  int64_t ThinkingMs() const { return engine_->ThinkingMs(); }

 private:
  void Run();

  const std::unique_ptr<Engine> engine_;
  mutable absl::Mutex mutex_;
  absl::CondVar wake_;
  std::vector<std::function<void()>> inbox_ ABSL_GUARDED_BY(mutex_);
  uint64_t ids_ ABSL_GUARDED_BY(mutex_) = 0;
  bool stop_ ABSL_GUARDED_BY(mutex_) = false;
  absl::Mutex stopping_;
  EngineStats stats_ ABSL_GUARDED_BY(mutex_);
  std::thread thread_;
};

}  // namespace corpgrid::inference
