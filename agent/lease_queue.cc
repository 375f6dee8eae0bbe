#include "agent/lease_queue.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <unordered_map>

#include "absl/time/clock.h"

namespace corpgrid::agent {
namespace {

// A shard of another job runs at the latest when it has waited this long for its turn.
constexpr int64_t kMaxWaitMs = 1000;
// Of shards this long nothing is prefetched: another device could start them meanwhile.
constexpr double kLongRunUs = 10e6;
constexpr double kWeightOfNewest = 0.125;

}  // namespace

uint32_t LeaseQueue::Prefetch() const {
  if (mean_run_us_ == 0 || mean_run_us_ > kLongRunUs) return 0;
  const double second = slots_ * 1e6 / std::max(mean_run_us_, 1.0);
  return static_cast<uint32_t>(std::clamp<double>(second, slots_, std::max(slots_, kMaxPrefetch)));
}

uint32_t LeaseQueue::Demand() const {
  const auto queued = static_cast<uint32_t>(queue_.size());
  if (held_.size() - queued - running_ >= kMaxUnjudged) return 0;
  if (unjudged_bytes_ >= kMaxUnjudgedBytes) return 0;
  // Asking only when the queue is half empty makes few calls for many shards.
  const uint32_t prefetch = Prefetch();
  if (queued > prefetch / 2) return 0;
  const uint32_t wanted = slots_ - std::min(running_, slots_) + prefetch;
  return wanted > queued ? wanted - queued : 0;
}

LeaseQueue::Wanted LeaseQueue::WaitForDemand() {
  absl::MutexLock lock(&mutex_);
  while (!closed_ && Demand() == 0) demand_.Wait(&mutex_);
  if (closed_) return {};
  return {Demand(), held_.empty() && mean_run_us_ == 0};
}

std::vector<uint64_t> LeaseQueue::HeldIds() const {
  absl::MutexLock lock(&mutex_);
  std::vector<uint64_t> ids;
  ids.reserve(held_.size());
  for (const auto& [id, held] : held_) ids.push_back(id.value);
  return ids;
}

size_t LeaseQueue::Add(const corpgrid::v1::PollJobsResponse& reply) {
  std::unordered_map<uint64_t, std::shared_ptr<const corpgrid::v1::JobTicket>> tickets;
  for (const auto& job : reply.jobs()) {
    tickets[job.job_id()] = std::make_shared<const corpgrid::v1::JobTicket>(job);
  }
  const int64_t now_ms = clock_->MonotonicMs();
  absl::MutexLock lock(&mutex_);
  size_t added = 0;
  for (const auto& lease : reply.leases()) {
    const auto ticket = tickets.find(lease.job_id());
    if (ticket == tickets.end()) {
      spdlog::warn("attempt {} came without its job {}: ignored", lease.attempt_id(),
                   lease.job_id());
      continue;
    }
    if (!held_.emplace(AttemptId{lease.attempt_id()}, Held{}).second) continue;
    queue_.push_back(
        {Attempt{AttemptId{lease.attempt_id()}, ShardId{JobId{lease.job_id()}, lease.shard()},
                 lease.token(), ticket->second, lease.checkpoint_hash(), lease.careful()},
         now_ms});
    ++added;
    work_.Signal();
  }
  if (held_.empty()) mean_run_us_ = 0;
  return added;
}

std::deque<LeaseQueue::Queued>::iterator LeaseQueue::Next(JobId preferred) {
  const auto first = queue_.begin();
  if (first->attempt.shard.job == preferred) return first;
  if (clock_->MonotonicMs() - first->since_ms >= kMaxWaitMs) return first;
  const auto found = std::find_if(queue_.begin(), queue_.end(), [preferred](const Queued& queued) {
    return queued.attempt.shard.job == preferred;
  });
  return found == queue_.end() ? first : found;
}

std::optional<Attempt> LeaseQueue::Take(JobId preferred, int64_t idle_ms) {
  absl::MutexLock lock(&mutex_);
  if (queue_.empty() && !closed_) {
    const absl::Time deadline = absl::Now() + absl::Milliseconds(idle_ms);
    while (queue_.empty() && !closed_) {
      if (work_.WaitWithDeadline(&mutex_, deadline)) break;
    }
  }
  if (queue_.empty() || closed_) return std::nullopt;
  const auto next = Next(preferred);
  Attempt attempt = std::move(next->attempt);
  queue_.erase(next);
  held_[attempt.id].state = State::kRunning;
  ++running_;
  if (Demand() > 0) demand_.Signal();
  return attempt;
}

void LeaseQueue::Finished(AttemptId id, int64_t run_us, uint64_t output_bytes) {
  absl::MutexLock lock(&mutex_);
  const auto newest = static_cast<double>(run_us);
  mean_run_us_ = mean_run_us_ == 0 ? std::max(newest, 1.0)
                                   : mean_run_us_ + kWeightOfNewest * (newest - mean_run_us_);
  End(id, output_bytes);
}

void LeaseQueue::Adopt(AttemptId id, uint64_t output_bytes) {
  absl::MutexLock lock(&mutex_);
  if (held_.emplace(id, Held{State::kFinished, output_bytes}).second) {
    unjudged_bytes_ += output_bytes;
  }
}

void LeaseQueue::GivenBack(AttemptId id) {
  absl::MutexLock lock(&mutex_);
  End(id, 0);
}

void LeaseQueue::End(AttemptId id, uint64_t output_bytes) {
  const auto held = held_.find(id);
  if (held == held_.end() || held->second.state != State::kRunning) return;
  held->second = {State::kFinished, output_bytes};
  unjudged_bytes_ += output_bytes;
  --running_;
  if (Demand() > 0) demand_.Signal();
}

std::optional<Attempt> LeaseQueue::TakeQueued(AttemptId id) {
  absl::MutexLock lock(&mutex_);
  const auto found = std::find_if(queue_.begin(), queue_.end(),
                                  [id](const Queued& queued) { return queued.attempt.id == id; });
  if (found == queue_.end()) return std::nullopt;
  Attempt attempt = std::move(found->attempt);
  queue_.erase(found);
  held_[id].state = State::kFinished;
  return attempt;
}

std::vector<Attempt> LeaseQueue::TakeAllQueued() {
  absl::MutexLock lock(&mutex_);
  std::vector<Attempt> attempts;
  for (Queued& queued : queue_) {
    held_[queued.attempt.id].state = State::kFinished;
    attempts.push_back(std::move(queued.attempt));
  }
  queue_.clear();
  return attempts;
}

void LeaseQueue::Erase(AttemptId id) {
  const auto held = held_.find(id);
  if (held == held_.end()) return;
  const State state = held->second.state;
  unjudged_bytes_ -= held->second.output_bytes;
  held_.erase(held);
  if (state == State::kRunning) --running_;
  if (state == State::kQueued) {
    std::erase_if(queue_, [id](const Queued& queued) { return queued.attempt.id == id; });
  }
  if (Demand() > 0) demand_.Signal();
}

void LeaseQueue::Forget(AttemptId id) {
  absl::MutexLock lock(&mutex_);
  Erase(id);
}

LeaseQueue::State LeaseQueue::Stop(AttemptId id) {
  absl::MutexLock lock(&mutex_);
  const auto held = held_.find(id);
  if (held == held_.end()) return State::kUnknown;
  const State state = held->second.state;
  if (state != State::kRunning) Erase(id);
  return state;
}

void LeaseQueue::Close() {
  absl::MutexLock lock(&mutex_);
  closed_ = true;
  work_.SignalAll();
  demand_.SignalAll();
}

}  // namespace corpgrid::agent
