#include "scheduler/core_loop.h"

#include <algorithm>
#include <future>
#include <iterator>
#include <utility>

#include "base/status_macros.h"
#include "crypto/signature.h"
#include "fmt/format.h"
#include "spdlog/spdlog.h"

namespace corpgrid::scheduler {
namespace {

template <typename Row>
void AppendRows(std::vector<Row>* to, std::vector<Row>&& from) {
  to->insert(to->end(), std::make_move_iterator(from.begin()), std::make_move_iterator(from.end()));
}

// The last row of a key is the one that counts; earlier ones would be written for nothing.
template <typename Row, typename Key>
void KeepLast(std::vector<Row>* rows, Key Row::* key) {
  std::stable_sort(rows->begin(), rows->end(),
                   [&](const Row& a, const Row& b) { return a.*key < b.*key; });
  auto out = rows->begin();
  for (auto it = rows->begin(); it != rows->end(); ++it) {
    if (std::next(it) != rows->end() && (*std::next(it)).*key == (*it).*key) continue;
    if (out != it) *out = std::move(*it);
    ++out;
  }
  rows->erase(out, rows->end());
}

void Merge(core::WriteBatch* to, core::WriteBatch&& from) {
  AppendRows(&to->join_tokens, std::move(from.join_tokens));
  AppendRows(&to->devices, std::move(from.devices));
  AppendRows(&to->reputations, std::move(from.reputations));
  AppendRows(&to->jobs, std::move(from.jobs));
  AppendRows(&to->job_progress, std::move(from.job_progress));
  AppendRows(&to->shards, std::move(from.shards));
  AppendRows(&to->attempts, std::move(from.attempts));
  AppendRows(&to->results, std::move(from.results));
  AppendRows(&to->checkpoints, std::move(from.checkpoints));
  AppendRows(&to->forgotten_checkpoints, std::move(from.forgotten_checkpoints));
}

}  // namespace

absl::StatusOr<std::unique_ptr<CoreLoop>> CoreLoop::Load(const core::GridConfig& config,
                                                         store::Store* store, const Clock* clock,
                                                         EffectsListener* listener) {
  auto loop = std::unique_ptr<CoreLoop>(new CoreLoop(config, store, clock, listener));
  RETURN_IF_ERROR(loop->LoadGrid());
  loop->grid_id_ = loop->grid_->meta().grid_id;
  return loop;
}

void CoreLoop::Start() {
  thread_ = std::thread([this] {
    listener_->OnReloaded(*grid_);
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

void CoreLoop::Submit(Body body, Done done) {
  absl::Status refused;
  {
    absl::MutexLock lock(&mutex_);
    if (stopping_) {
      refused = absl::UnavailableError("the scheduler is stopping");
    } else if (queue_.size() >= kMaxQueue) {
      refused = absl::ResourceExhaustedError("the scheduler has too many calls waiting; try again");
    } else {
      queue_.push_back({std::move(body), std::move(done)});
      return;
    }
  }
  done(refused);
}

core::Reply CoreLoop::CallAny(Body body) {
  std::promise<core::Reply> promise;
  Submit(std::move(body), [&](core::Reply reply) { promise.set_value(std::move(reply)); });
  return promise.get_future().get();
}

absl::Status CoreLoop::CallStatus(Body body) {
  const core::Reply reply = CallAny(std::move(body));
  const auto* status = std::get_if<absl::Status>(&reply);
  return status ? *status : absl::OkStatus();
}

absl::Status CoreLoop::LoadGrid() {
  ASSIGN_OR_RETURN(core::Snapshot snapshot, store_->Load());
  batch_ = snapshot.meta.batch;
  // Grid time never goes back, whatever the machine's clock did while the scheduler was down.
  time_offset_ms_ = std::max(time_offset_ms_, snapshot.meta.time_ms - clock_->MonotonicMs());
  snapshot.meta.time_ms = GridTimeMs();
  ASSIGN_OR_RETURN(core::Grid grid, core::Grid::Load(config_, std::move(snapshot)));
  grid_ = std::make_unique<core::Grid>(std::move(grid));
  return absl::OkStatus();
}

int64_t CoreLoop::GridTimeMs() const { return clock_->MonotonicMs() + time_offset_ms_; }

void CoreLoop::LeaveOutStall(int64_t now_ms) {
  const int64_t turn_ms = now_ms - last_turn_ms_.value_or(now_ms);
  last_turn_ms_ = now_ms;
  if (turn_ms <= kStallMs) return;
  spdlog::warn("the scheduler stood still for {} ms; leases last that much longer", turn_ms);
  time_offset_ms_ -= turn_ms - kStallMs;
}

std::vector<CoreLoop::Waiting> CoreLoop::TakeBatch() {
  absl::MutexLock lock(&mutex_);
  const auto ready = [this]() ABSL_SHARED_LOCKS_REQUIRED(mutex_) {
    return stopping_ || !queue_.empty();
  };
  mutex_.AwaitWithTimeout(absl::Condition(&ready), absl::Milliseconds(kTickMs));
  if (queue_.size() <= kMaxBatch) return std::exchange(queue_, {});
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

void CoreLoop::ApplyBatch(std::vector<Waiting> batch) {
  core::Command command;
  command.time_ms = GridTimeMs();
  command.wall_ms = clock_->WallMs();
  std::vector<core::Effects> all;
  all.reserve(batch.size());
  core::WriteBatch rows;
  for (Waiting& waiting : batch) {
    const std::string seed = crypto::RandomBytes(command.seed.size());
    std::copy(seed.begin(), seed.end(), command.seed.begin());
    command.body = std::move(waiting.body);
    core::Effects& effects = all.emplace_back(grid_->Apply(command));
    Merge(&rows, std::move(effects.rows));
  }
  const absl::Status committed = rows.empty() ? absl::OkStatus() : Commit(std::move(rows));
  for (size_t i = 0; i < batch.size(); ++i) {
    if (!committed.ok()) {
      batch[i].done(committed);
      continue;
    }
    listener_->OnCommitted(all[i]);
    batch[i].done(std::move(all[i].reply));
  }
}

absl::Status CoreLoop::Commit(core::WriteBatch rows) {
  KeepLast(&rows.job_progress, &core::JobProgressRow::id);
  KeepLast(&rows.reputations, &core::ReputationRow::device);
  KeepLast(&rows.shards, &core::ShardRow::id);
  KeepLast(&rows.attempts, &core::AttemptRow::id);
  rows.meta = grid_->meta();
  rows.meta->batch = batch_ + 1;
  const absl::Status status = store_->Commit(rows);
  if (status.ok()) {
    ++batch_;
    return status;
  }
  spdlog::error("commit failed, reading the state back: {}", status.ToString());
  const uint64_t attempted = batch_ + 1;
  absl::Status loaded = LoadGrid();
  while (!loaded.ok()) {
    {
      absl::MutexLock lock(&mutex_);
      if (stopping_) return status;
    }
    spdlog::error("cannot read the state back, trying again: {}", loaded.ToString());
    std::this_thread::sleep_for(std::chrono::milliseconds(500));
    loaded = LoadGrid();
  }
  listener_->OnReloaded(*grid_);
  // The error may have come after the transaction landed; the store knows.
  if (batch_ == attempted) return absl::OkStatus();
  return absl::Status(
      status.code(),
      fmt::format("the change was not made, the grid's state could not be written: {}",
                  std::string(status.message())));
}

}  // namespace corpgrid::scheduler
