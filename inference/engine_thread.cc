#include "inference/engine_thread.h"

#include <utility>

#include "base/status_macros.h"

namespace corpgrid::inference {

EngineThread::EngineThread(std::unique_ptr<Engine> engine)
    : engine_(std::move(engine)), thread_([this] { Run(); }) {}

EngineThread::~EngineThread() { Stop(); }

void EngineThread::Stop() {
  {
    absl::MutexLock lock(&mutex_);
    stop_ = true;
    wake_.Signal();
  }
  absl::MutexLock lock(&stopping_);
  if (thread_.joinable()) thread_.join();
}

absl::StatusOr<uint64_t> EngineThread::Submit(Request request, std::shared_ptr<Listener> listener) {
  ASSIGN_OR_RETURN(Engine::Checked checked, engine_->Check(std::move(request)));
  absl::MutexLock lock(&mutex_);
  if (stop_) return absl::UnavailableError("the model is being unloaded");
  const uint64_t id = ++ids_;
  inbox_.push_back([this, id, checked = std::move(checked), listener = std::move(listener)] {
    const absl::Status status = engine_->Submit(id, checked, listener);
    if (status.ok()) return;
    for (uint32_t choice = 0; choice < checked.request->choices; ++choice) {
      listener->OnEnd({choice, Finish::kFailed, status, "", {}});
    }
  });
  wake_.Signal();
  return id;
}

void EngineThread::Cancel(uint64_t id) {
  absl::MutexLock lock(&mutex_);
  inbox_.push_back([this, id] { engine_->Cancel(id); });
  wake_.Signal();
}

EngineStats EngineThread::stats() const {
  absl::MutexLock lock(&mutex_);
  return stats_;
}

void EngineThread::Run() {
  bool busy = false;
  while (true) {
    std::vector<std::function<void()>> inbox;
    {
      absl::MutexLock lock(&mutex_);
      while (!busy && inbox_.empty() && !stop_) wake_.Wait(&mutex_);
      if (stop_) break;
      inbox.swap(inbox_);
    }
    for (const auto& act : inbox) act();
    busy = engine_->Step();
    absl::MutexLock lock(&mutex_);
    stats_ = engine_->stats();
  }
  std::vector<std::function<void()>> inbox;
  {
    absl::MutexLock lock(&mutex_);
    inbox.swap(inbox_);
  }
  for (const auto& act : inbox) act();
  engine_->FailAll(absl::CancelledError("the model is unloaded"));
}

}  // namespace corpgrid::inference
