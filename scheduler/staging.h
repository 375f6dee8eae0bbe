#pragma once

#include <deque>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "core/grid.h"
#include "objects/object_store.h"
#include "store/store.h"

namespace corpgrid::scheduler {

// Keeps the winners' staged outputs, drops the others' and releases what removed jobs kept, behind
// the core's back: what is to happen follows from committed state, so a crash in between is made up
// for by Reconcile. Any thread.
class Staging {
 public:
  // `objects` must outlive it.
  explicit Staging(objects::ObjectStore* objects);
  ~Staging();

  void Keep(std::string scope, std::string owner);
  void Drop(std::string scope);
  // Bit by bit, after what was to be kept or dropped before. An owner that keeps much does not
  // hold up a stop: the next start goes on.
  void Release(std::string owner);
  // Waits until all that was asked for before is done. Errors: that of the last step that failed.
  absl::Status Flush();

 private:
  void Run();

  objects::ObjectStore* const objects_;
  absl::Mutex mutex_;
  std::vector<std::pair<std::string, std::string>> keep_ ABSL_GUARDED_BY(mutex_);
  std::vector<std::string> drop_ ABSL_GUARDED_BY(mutex_);
  std::deque<std::string> release_ ABSL_GUARDED_BY(mutex_);
  bool busy_ ABSL_GUARDED_BY(mutex_) = false;
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  absl::Status last_error_ ABSL_GUARDED_BY(mutex_);
  std::thread thread_;
};

// After a start: settles every attempt's scope that the last run left behind, and releases what is
// kept for jobs that are not there any more. Attempts that are live stay as they are.
absl::Status ReconcileStaging(objects::ObjectStore* objects, const store::Store& store,
                              const core::Grid& grid);

}  // namespace corpgrid::scheduler
