#include "agent/heartbeat.h"

#include <spdlog/spdlog.h>

#include <memory>
#include <unordered_map>

#include "base/status_macros.h"

namespace corpgrid::agent {
namespace {

constexpr int64_t kRetryMs = 1000;  // while the scheduler does not answer

}  // namespace

void Heartbeat::Run(StopSignal* stop) {
  int64_t wait_ms = 0;
  while (!stop->WaitFor(wait_ms)) {
    const bool alive = Beat().ok();
    const auto registration = context_.scheduler->CurrentRegistration();
    wait_ms = registration.ok() ? (*registration)->heartbeat_ms : kRetryMs;
    if (!alive) wait_ms = std::min(wait_ms, kRetryMs);
  }
}

absl::Status Heartbeat::Beat() {
  std::unordered_map<uint64_t, double> progress;
  for (const RunningAttempt& running : context_.running()) {
    progress[running.id.value] = running.progress;
  }
  corpgrid::v1::HeartbeatRequest request;
  for (const uint64_t id : context_.leases->HeldIds()) {
    corpgrid::v1::AttemptProgress* attempt = request.add_attempts();
    attempt->set_attempt_id(id);
    const auto it = progress.find(id);
    attempt->set_fraction(it == progress.end() ? -1 : it->second);
  }
  ASSIGN_OR_RETURN(const corpgrid::v1::HeartbeatResponse reply,
                   context_.scheduler->Heartbeat(std::move(request)));
  for (const auto& stop : reply.stop()) {
    const AttemptId id{stop.attempt_id()};
    if (stop.give_back()) {
      if (const std::optional<Attempt> queued = context_.leases->TakeQueued(id)) {
        context_.hand_in(GivenBack(*queued, stop.reason()));
      } else {
        context_.give_back(id, stop.reason());
      }
      continue;
    }
    const LeaseQueue::State state = context_.leases->Stop(id);
    if (state == LeaseQueue::State::kUnknown) continue;
    spdlog::info("attempt {} stopped: {}", id.value, stop.reason());
    if (state == LeaseQueue::State::kRunning) context_.cancel(id);
    if (state == LeaseQueue::State::kFinished) context_.drop(id);
  }
  return absl::OkStatus();
}

}  // namespace corpgrid::agent
