#pragma once

#include <memory>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "objects/object_store.h"
#include "platform/file.h"
#include "platform/process.h"
#include "scheduler/grants.h"

namespace corpgrid::scheduler {

// Runs users' validator programs, in the same sandbox that their jobs run in. It belongs to a
// process of its own (scheduler/validator_child.h), because the scheduler may be root and sandboxes
// never are; it serves one job and is replaced with the next. One thread, but for Check(),
// Interrupt() and Cancel().
class Validator {
 public:
  // `argv` starts the other process, its last word is that process's folder; `objects` must outlive
  // the validator.
  Validator(std::vector<std::string> argv, objects::ObjectStore* objects)
      : argv_(std::move(argv)), objects_(objects) {}

  // OK when this machine can run programs; else FailedPrecondition and why. Any thread.
  absl::Status Check();

  // Empty when the program of `job` takes the outputs `a` and `b` for the same (exit status 0);
  // else why not. Errors: Unavailable when the other process ended or could not tell, those of the
  // object store.
  absl::StatusOr<std::string> Difference(const JobInfo& job, const std::vector<job::Output>& a,
                                         const std::vector<job::Output>& b);

  // Ends the comparison that goes on with Unavailable. Any thread; does not block.
  void Interrupt();
  // The same, and those to come.
  void Cancel();

 private:
  struct Child {
    platform::Process process;
    platform::Fd socket;
    JobId job;
  };

  absl::StatusOr<std::unique_ptr<Child>> Launch(const std::vector<std::string>& argv) const;
  absl::Status Prepare(const JobInfo& job);
  absl::Status Send(int socket, const crypto::Hash& object) const;

  const std::vector<std::string> argv_;
  objects::ObjectStore* const objects_;

  absl::Mutex check_mutex_;  // held for as long as a check takes, so nobody else waits for it
  bool checked_ ABSL_GUARDED_BY(check_mutex_) = false;  // and found to be well
  absl::Mutex mutex_;
  bool cancelled_ ABSL_GUARDED_BY(mutex_) = false;
  // Set and reset under mutex_, by the one thread, which alone uses it otherwise.
  std::unique_ptr<Child> child_;
};

}  // namespace corpgrid::scheduler
