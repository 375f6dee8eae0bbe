#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <thread>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "core/grid.h"
#include "core/rows.h"
#include "store/live_rows.h"

namespace corpgrid::store {

// What a standby will have to load, kept in its memory: it reads the state of a PostgreSQL store
// once, then what each commit of the leader changes (PostgresStore writes that down while somebody
// follows). Loading millions of rows at the takeover would come too late. It works on a thread of
// its own, and goes on by itself whatever becomes of the database or the leader. While the leader
// is late with showing itself it also builds the grid, which takes as long again. Any thread.
class Follower {
 public:
  // `config`: of the grid to be built.
  explicit Follower(std::string url, const core::GridConfig& config);
  ~Follower();

  // Whether it has all that was committed up to a moment ago.
  bool ready() const;
  bool ended() const;
  // Whether it has the grid of what it has, as the leader is late.
  bool has_built() const;

  // Ends following. What Store::Load would give; to be called once nobody else can write any more.
  // Errors: Unavailable when it does not have all of it, FailedPrecondition when it has ended.
  absl::StatusOr<core::Snapshot> TakeOver();
  // The same as a grid, if that is built of all that was committed; else null, and TakeOver is
  // left.
  std::unique_ptr<core::Grid> TakeOverBuilt();

 private:
  class Reader;

  void Run();
  void End();
  // Goes on to the newest commit.
  absl::Status Follow();
  absl::Status BuildIfLate();

  const std::string url_;
  const core::GridConfig config_;

  // Of the thread; once that has ended, of who ended it.
  std::unique_ptr<Reader> reader_;
  std::optional<absl::Time> announced_;  // to the leader, for the load that follows
  std::optional<LiveRows> rows_;
  std::unique_ptr<core::Grid> built_;
  bool taken_ = false;

  mutable absl::Mutex mutex_;
  bool ending_ ABSL_GUARDED_BY(mutex_) = false;
  bool ready_ ABSL_GUARDED_BY(mutex_) = false;
  bool has_built_ ABSL_GUARDED_BY(mutex_) = false;
  std::thread thread_;
};

}  // namespace corpgrid::store
