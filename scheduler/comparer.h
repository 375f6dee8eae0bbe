#pragma once

#include <deque>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "core/commands.h"
#include "objects/object_store.h"
#include "scheduler/core_loop.h"
#include "scheduler/grants.h"
#include "scheduler/validator.h"

namespace corpgrid::scheduler {

// Answers the core's questions which results are close to each other, one after another on a
// thread of its own: outputs may be large, and nobody else should wait for them. Any thread.
class Comparer {
 public:
  static constexpr uint32_t kMaxTries = 600;  // about five minutes

  // All must outlive the thread.
  Comparer(objects::ObjectStore* objects, GrantTable* grants, Validator* validator, CoreLoop* loop);
  ~Comparer() { Stop(); }

  // What cannot be answered now, because the disk cannot be read or the answer not be written, is
  // tried again for as long as the attempt has its grant; after kMaxTries the result is taken for
  // one that is close to no other.
  void Ask(core::Comparison comparison);
  // Forgets what was asked and not answered.
  void Clear();
  // Gives up what is compared for one of these attempts.
  void Ended(const std::vector<AttemptId>& attempts);

  // Ends the thread; what is asked afterwards is not answered.
  void Stop();

 private:
  struct Question {
    core::Comparison comparison;
    uint32_t tries = 0;                    // that came to nothing
    std::optional<core::Compared> answer;  // that could not be written yet
  };

  void Run();
  // Puts `question` back, for later.
  void Again(Question question, const absl::Status& why);
  absl::StatusOr<core::Compared> Compare(const core::Comparison& comparison);
  // Empty when all outputs of `a` are close to those of `b`, else where they differ first.
  absl::StatusOr<std::string> NumericDifference(const job::Tolerance& tolerance,
                                                const std::vector<job::Output>& a,
                                                const std::vector<job::Output>& b);

  objects::ObjectStore* const objects_;
  GrantTable* const grants_;
  Validator* const validator_;
  CoreLoop* const loop_;
  absl::Mutex mutex_;
  std::deque<Question> questions_ ABSL_GUARDED_BY(mutex_);
  AttemptId current_ ABSL_GUARDED_BY(mutex_);   // whose question is being answered
  bool pause_ ABSL_GUARDED_BY(mutex_) = false;  // before the next one
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  std::thread thread_;
};

}  // namespace corpgrid::scheduler
