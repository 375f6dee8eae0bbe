#include "agent/checkpoints.h"

#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <utility>
#include <vector>

#include "absl/time/clock.h"
#include "agent/transient.h"
#include "base/backoff.h"
#include "base/status_macros.h"

namespace corpgrid::agent {

Checkpoints::Checkpoints(SchedulerClient* scheduler, StopSignal* abort)
    : scheduler_(scheduler), abort_(abort), thread_([this] { Run(); }) {}

Checkpoints::~Checkpoints() {
  abort_->Stop();
  {
    absl::MutexLock lock(&mutex_);
    closed_ = true;
    changed_.SignalAll();
  }
  thread_.join();
}

void Checkpoints::Offer(const Attempt& attempt, SavedState state) {
  absl::MutexLock lock(&mutex_);
  Sending& sending = attempts_[attempt.id];
  sending.attempt = attempt;
  // While another is on its way, what was reported last is not what will have been.
  if (busy_ != attempt.id && sending.reported == state.hash) {
    sending.waiting.reset();
  } else {
    sending.waiting = std::move(state);
  }
  changed_.SignalAll();
}

void Checkpoints::Flush(AttemptId id, int64_t ms) {
  const absl::Time deadline = absl::Now() + absl::Milliseconds(ms);
  absl::MutexLock lock(&mutex_);
  while (!closed_) {
    const auto it = attempts_.find(id);
    if (it == attempts_.end() || (!it->second.waiting && busy_ != id)) return;
    if (changed_.WaitWithDeadline(&mutex_, deadline)) return;
  }
}

void Checkpoints::Forget(AttemptId id) {
  absl::MutexLock lock(&mutex_);
  attempts_.erase(id);
  changed_.SignalAll();
}

absl::Status Checkpoints::Send(const Attempt& attempt, const SavedState& state, int name) const {
  const std::string text = fmt::format("@state-{}", name);
  const auto upload = rpc::UploadFd(attempt.Grant(), text, state.file.get());
  ASSIGN_OR_RETURN(const auto staged, scheduler_->Put({&upload, 1}));
  if (staged.size() != 1 || staged[0].hash() != state.hash.Raw()) {
    return absl::DataLossError("the state arrived with another hash");
  }
  corpgrid::v1::OutputRef reference;
  reference.set_name(text);
  reference.set_hash(std::string(state.hash.Raw()));
  reference.set_size_bytes(state.size_bytes);
  return scheduler_->ReportCheckpoint(attempt, reference);
}

void Checkpoints::Run() {
  Backoff backoff(reinterpret_cast<uintptr_t>(this));
  absl::MutexLock lock(&mutex_);
  while (!closed_) {
    const auto it = std::find_if(attempts_.begin(), attempts_.end(), [](const auto& entry) {
      return entry.second.waiting.has_value();
    });
    if (it == attempts_.end()) {
      changed_.Wait(&mutex_);
      continue;
    }
    const Attempt attempt = it->second.attempt;
    SavedState state = *std::exchange(it->second.waiting, std::nullopt);
    const int name = it->second.next_name;
    busy_ = attempt.id;
    mutex_.Unlock();
    const absl::Status status = Send(attempt, state, name);
    const bool again = !status.ok() && IsTransient(status);
    if (again) {
      abort_->WaitFor(backoff.NextMs());
    } else if (!status.ok()) {
      spdlog::warn("the state of attempt {} is not saved: {}", attempt.id.value,
                   std::string(status.message()));
    }
    mutex_.Lock();
    busy_ = AttemptId{};
    if (const auto sent = attempts_.find(attempt.id); sent != attempts_.end()) {
      if (status.ok()) {
        backoff.Reset();
        sent->second.reported = state.hash;
        sent->second.next_name = 1 - name;
      } else if (again && !sent->second.waiting) {
        sent->second.waiting = std::move(state);
      }
    }
    changed_.SignalAll();
  }
}

}  // namespace corpgrid::agent
