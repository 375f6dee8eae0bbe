#include "agent/stop_signal.h"

#include "absl/time/clock.h"

namespace corpgrid::agent {

void StopSignal::Stop() {
  absl::MutexLock lock(&mutex_);
  stopped_.store(true, std::memory_order_release);
  for (grpc::ClientContext* call : calls_) call->TryCancel();
  changed_.SignalAll();
}

bool StopSignal::WaitFor(int64_t ms) {
  const absl::Time deadline = absl::Now() + absl::Milliseconds(ms);
  absl::MutexLock lock(&mutex_);
  while (!stopped()) {
    if (changed_.WaitWithDeadline(&mutex_, deadline)) break;
  }
  return stopped();
}

StopSignal::Scope::Scope(StopSignal* signal, grpc::ClientContext* context)
    : signal_(signal), context_(context) {
  absl::MutexLock lock(&signal_->mutex_);
  signal_->calls_.insert(context_);
  if (signal_->stopped()) context_->TryCancel();
}

StopSignal::Scope::~Scope() {
  absl::MutexLock lock(&signal_->mutex_);
  signal_->calls_.erase(context_);
}

}  // namespace corpgrid::agent
