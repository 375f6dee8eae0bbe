#include "scheduler/core_loop.h"

#include <algorithm>
#include <array>
#include <iterator>
#include <utility>

#include "base/status_macros.h"
#include "crypto/signature.h"
#include "fmt/format.h"
#include "spdlog/spdlog.h"

namespace corpgrid::scheduler {
namespace {

std::array<uint8_t, 32> RandomSeed() {
  std::array<uint8_t, 32> seed;
  const std::string bytes = crypto::RandomBytes(seed.size());
  std::copy(bytes.begin(), bytes.end(), seed.begin());
  return seed;
}

}  // namespace

absl::StatusOr<std::unique_ptr<CoreLoop>> CoreLoop::Load(const core::GridConfig& config,
                                                         store::Store* store, const Clock* clock,
                                                         EffectsListener* listener) {
  auto loop = std::unique_ptr<CoreLoop>(new CoreLoop(store, clock, listener));
  ASSIGN_OR_RETURN(loop->grid_, store::DurableGrid::Load(config, store, clock, RandomSeed));
  loop->grid_id_ = loop->grid_->grid().meta().grid_id;
  loop->last_turn_ms_ = clock->MonotonicMs();  // the leases that were read run from here on
  return loop;
}

void CoreLoop::Start() {
  thread_ = std::thread([this] {
    listener_->OnReloaded(grid_->grid());
    Run();
  });
}

CoreLoop::~CoreLoop() {
  {
    absl::MutexLock lock(&mutex_);
    stopping_ = true;
  }
  if (thread_.joinable()) thread_.join();
}

void CoreLoop::Submit(Body body, Done done, Haste haste) {
  absl::Status refused;
  {
    absl::MutexLock lock(&mutex_);
    if (stopping_) {
      refused = absl::UnavailableError("the scheduler is stopping");
    } else if (queue_.size() >= kMaxQueue) {
      refused = absl::ResourceExhaustedError("the scheduler has too many calls waiting; try again");
    } else {
      queue_.push_back({std::move(body), std::move(done)});
      if (haste == Haste::kNow) in_haste_ = true;
      return;
    }
  }
  done(refused);
}

std::future<core::Reply> CoreLoop::Send(Body body) {
  // Shared: who waits may give up.
  const auto promise = std::make_shared<std::promise<core::Reply>>();
  Submit(std::move(body), [promise](core::Reply reply) { promise->set_value(std::move(reply)); });
  return promise->get_future();
}

absl::Status CoreLoop::CallStatus(Body body) {
  const core::Reply reply = CallAny(std::move(body));
  const auto* status = std::get_if<absl::Status>(&reply);
  return status ? *status : absl::OkStatus();
}

void CoreLoop::LeaveOutStall(int64_t now_ms) {
  const int64_t turn_ms = now_ms - last_turn_ms_.value_or(now_ms);
  last_turn_ms_ = now_ms;
  if (turn_ms <= kStallMs) return;
  spdlog::warn("the scheduler stood still for {} ms; leases last that much longer", turn_ms);
  grid_->LeaveOut(turn_ms - kStallMs);
}

std::vector<CoreLoop::Waiting> CoreLoop::TakeBatch() {
  absl::MutexLock lock(&mutex_);
  const auto ready = [this]() ABSL_SHARED_LOCKS_REQUIRED(mutex_) {
    return stopping_ || !queue_.empty();
  };
  mutex_.AwaitWithTimeout(absl::Condition(&ready), absl::Milliseconds(kTickMs));
  const auto in_haste = [this]() ABSL_SHARED_LOCKS_REQUIRED(mutex_) {
    return stopping_ || in_haste_ || queue_.empty() || queue_.size() >= kMaxBatch;
  };
  mutex_.AwaitWithTimeout(absl::Condition(&in_haste), absl::Milliseconds(kPatienceMs));
  if (queue_.size() <= kMaxBatch) {
    in_haste_ = false;
    return std::exchange(queue_, {});
  }
  std::vector<Waiting> batch(std::make_move_iterator(queue_.begin()),
                             std::make_move_iterator(queue_.begin() + kMaxBatch));
  queue_.erase(queue_.begin(), queue_.begin() + kMaxBatch);
  return batch;
}

void CoreLoop::Run() {
  while (true) {
    std::vector<Waiting> batch = TakeBatch();
    {
      absl::MutexLock lock(&mutex_);
      if (stopping_ && batch.empty()) return;
    }
    if (const absl::Status lead = CheckLead(); !lead.ok()) {
      for (Waiting& waiting : batch) waiting.done(lead);
      continue;  // all of this time will have been one stall
    }
    const int64_t now_ms = clock_->MonotonicMs();
    LeaveOutStall(now_ms);
    const bool tick = now_ms - last_tick_ms_ >= kTickMs;
    if (tick) {
      last_tick_ms_ = now_ms;
      batch.push_back({core::Tick{}, [](const core::Reply&) {}});
    }
    ApplyBatch(std::move(batch));
    if (tick) listener_->OnTick();
  }
}

absl::Status CoreLoop::CheckLead() {
  const absl::Status before = std::exchange(lead_, store_->Standing());
  if (lead_.code() == before.code()) return lead_;
  if (absl::IsAborted(lead_)) {
    listener_->OnDeposed(lead_);
  } else if (!lead_.ok()) {
    spdlog::error("no call is answered for now: {}", std::string(lead_.message()));
  } else {
    spdlog::warn("this scheduler leads still; calls are answered again");
  }
  return lead_;
}

void CoreLoop::ApplyBatch(std::vector<Waiting> batch) {
  std::vector<Body> bodies;
  bodies.reserve(batch.size());
  for (Waiting& waiting : batch) bodies.push_back(std::move(waiting.body));
  std::vector<core::Effects> all = grid_->Apply(std::move(bodies));
  const absl::Status committed = Commit();
  for (size_t i = 0; i < batch.size(); ++i) {
    if (!committed.ok()) {
      batch[i].done(committed);
      continue;
    }
    listener_->OnCommitted(all[i]);
    batch[i].done(std::move(all[i].reply));
  }
}

absl::Status CoreLoop::Commit() {
  const absl::Status status = grid_->Commit();
  if (status.ok()) return status;
  spdlog::error("commit failed, reading the state back: {}", status.ToString());
  absl::StatusOr<bool> landed = grid_->Reload();
  while (!landed.ok()) {
    {
      absl::MutexLock lock(&mutex_);
      if (stopping_) return status;
    }
    if (absl::IsAborted(CheckLead())) return lead_;
    spdlog::error("cannot read the state back, trying again: {}", landed.status().ToString());
    std::this_thread::sleep_for(std::chrono::milliseconds(500));
    landed = grid_->Reload();
  }
  listener_->OnReloaded(grid_->grid());
  // The error may have come after the transaction landed; the store knows.
  if (*landed) return absl::OkStatus();
  return absl::Status(
      status.code(),
      fmt::format("the change was not made, the grid's state could not be written: {}",
                  std::string(status.message())));
}

}  // namespace corpgrid::scheduler
