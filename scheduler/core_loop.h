#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <future>
#include <memory>
#include <optional>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "base/clock.h"
#include "core/grid.h"
#include "store/durable_grid.h"

namespace corpgrid::scheduler {

// Hears of what happened once it is durable. Called on the core's thread: must not block.
class EffectsListener {
 public:
  virtual ~EffectsListener() = default;
  virtual void OnCommitted(core::Effects& effects) = 0;
  // Memory was thrown away and read back from the store, after a commit that failed: nobody waits
  // for shards any more.
  virtual void OnReloaded(const core::Grid& grid) = 0;
  // Another scheduler leads the grid: every command is answered with `why` from now on. Called
  // once.
  virtual void OnDeposed(const absl::Status& why) = 0;
  // Called about every kTickMs.
  virtual void OnTick() = 0;
};

// Owns the core, on a thread of its own. It takes whatever commands wait, applies them all, commits
// their rows in one transaction and then releases the replies (group commit): an acknowledged
// change is durable, and a commit's cost is shared. When a commit fails, every command of it is
// answered with that error and memory is read back from the store. While the store does not vouch
// for this scheduler's lead, every command is answered with why, and nothing is applied: what
// memory holds may be old.
class CoreLoop {
 public:
  using Body = store::DurableGrid::Body;
  using Done = std::function<void(core::Reply)>;
  enum class Haste : uint8_t { kNow, kSoon };

  static constexpr int64_t kTickMs = 50;
  // A turn that took longer counts as this long for the core. The scheduler itself stood still (its
  // machine slept, its disk stalled) and heard no heartbeat meanwhile, which is no device's fault.
  static constexpr int64_t kStallMs = 1000;
  // What a command that is in no haste may wait for others, so that a fleet's heartbeats share the
  // cost of a turn: the core's thread is woken once for all of them.
  static constexpr int64_t kPatienceMs = 2;
  static constexpr size_t kMaxBatch = 512;
  static constexpr size_t kMaxQueue = 100'000;  // beyond it commands are answered ResourceExhausted

  // Reads the state; nothing is applied before Start. `store`, `clock` and `listener` must outlive
  // the loop. Errors: those of Store::Load and Grid::Load.
  static absl::StatusOr<std::unique_ptr<CoreLoop>> Load(const core::GridConfig& config,
                                                        store::Store* store, const Clock* clock,
                                                        EffectsListener* listener);
  ~CoreLoop();

  // Starts the core's thread, which begins with OnReloaded. Once.
  void Start();

  // Any thread. `done` is called on the core's thread and must not block; on an error it gets an
  // absl::Status.
  void Submit(Body body, Done done, Haste haste = Haste::kNow);

  // The same for a command whose reply is a `T` when all goes well: `use` gets an
  // absl::StatusOr<T>.
  template <typename T, typename Use>
  void Ask(Body&& body, Use use, Haste haste = Haste::kNow) {
    const auto done = [use = std::move(use)](core::Reply reply) { use(As<T>(std::move(reply))); };
    Submit(std::move(body), done, haste);
  }

  // Any thread but the core's: waits for the reply. `T` is the reply's type when all goes well.
  template <typename T>
  absl::StatusOr<T> Call(Body body);
  // As Call, but Unavailable when there is no reply within `ms`; what it asks for may be done
  // later.
  template <typename T>
  absl::StatusOr<T> CallFor(int64_t ms, Body body);
  // For commands that answer with a status alone.
  absl::Status CallStatus(Body body);

  const std::string& grid_id() const { return grid_id_; }

  // What was loaded. Before Start only.
  const core::Grid& grid() const { return grid_->grid(); }

 private:
  struct Waiting {
    Body body;
    Done done;
  };

  CoreLoop(store::Store* store, const Clock* clock, EffectsListener* listener)
      : store_(store), clock_(clock), listener_(listener) {}

  std::future<core::Reply> Send(Body body);
  core::Reply CallAny(Body body) { return Send(std::move(body)).get(); }
  template <typename T>
  static absl::StatusOr<T> As(core::Reply reply);
  void Run();
  std::vector<Waiting> TakeBatch();
  void ApplyBatch(std::vector<Waiting> batch);
  // OK while this scheduler is sure to lead. The listener hears of it when another one does.
  absl::Status CheckLead();
  // Commits what was applied; on failure reloads. OK when it is durable.
  absl::Status Commit();
  void LeaveOutStall(int64_t now_ms);

  store::Store* const store_;
  const Clock* const clock_;
  EffectsListener* const listener_;
  std::string grid_id_;

  // Of the core's thread alone.
  std::unique_ptr<store::DurableGrid> grid_;
  int64_t last_tick_ms_ = 0;
  std::optional<int64_t> last_turn_ms_;
  absl::Status lead_;  // what CheckLead found last

  absl::Mutex mutex_;
  std::vector<Waiting> queue_ ABSL_GUARDED_BY(mutex_);
  bool in_haste_ ABSL_GUARDED_BY(mutex_) = false;  // something in queue_ is
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  std::thread thread_;
};

template <typename T>
absl::StatusOr<T> CoreLoop::As(core::Reply reply) {
  if (auto* status = std::get_if<absl::Status>(&reply)) {
    return status->ok() ? absl::InternalError("the core answered with nothing")
                        : std::move(*status);
  }
  return std::get<T>(std::move(reply));
}

template <typename T>
absl::StatusOr<T> CoreLoop::Call(Body body) {
  return As<T>(CallAny(std::move(body)));
}

template <typename T>
absl::StatusOr<T> CoreLoop::CallFor(int64_t ms, Body body) {
  std::future<core::Reply> reply = Send(std::move(body));
  if (reply.wait_for(std::chrono::milliseconds(ms)) == std::future_status::ready) {
    return As<T>(reply.get());
  }
  return absl::UnavailableError("the scheduler's core does not answer; its store may be away");
}

}  // namespace corpgrid::scheduler
