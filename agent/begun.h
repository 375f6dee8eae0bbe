#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "agent/attempt.h"
#include "base/file.h"
#include "base/ids.h"

namespace corpgrid::agent {

// What a device needs to name an attempt that it began.
struct BegunAttempt {
  AttemptId id;
  std::string lease_token;

  bool operator==(const BegunAttempt&) const = default;
};

// Notes of the attempts that run, in a file a slot, so that the next run of an agent that died can
// tell what was running. A note is written before its attempt begins. It survives the agent; a
// crash of the machine only when the attempt is `careful`, or some seconds after: a sync before
// each shard would cost more than short shards do. Any thread; a slot's calls one after the other.
class Begun {
 public:
  // Makes the folder when there is none. Errors: FailedPrecondition.
  static absl::StatusOr<std::unique_ptr<Begun>> Open(const std::string& folder, uint32_t slots);

  // What an earlier run has begun, of this grid, and neither ended nor stopped in order. Before the
  // first Begin. A note that is damaged was not written whole: its attempt had not begun.
  std::vector<BegunAttempt> Left(std::string_view grid_id);
  // The notes of earlier runs are of no more use.
  void ForgetLeft();

  void Begin(std::string_view grid_id, uint32_t slot, const Attempt& attempt);
  void End(uint32_t slot);
  // The agent stops in order: what is ended from here on, however hard, did not die.
  void Close();

  // An attempt's note for as long as it lives.
  class Note {
   public:
    Note(Begun* begun, std::string_view grid_id, uint32_t slot, const Attempt& attempt)
        : begun_(begun), slot_(slot) {
      begun_->Begin(grid_id, slot, attempt);
    }
    Note(const Note&) = delete;
    ~Note() { begun_->End(slot_); }

   private:
    Begun* const begun_;
    const uint32_t slot_;
  };

 private:
  struct Slot {
    UniqueFd file;
    bool synced = false;  // the note in it
  };
  explicit Begun(std::vector<Slot> slots) : slots_(std::move(slots)) {}
  void EndLocked(Slot& slot) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  absl::Mutex mutex_;  // for Close; a slot has its own file
  std::vector<Slot> slots_ ABSL_GUARDED_BY(mutex_);
  bool closed_ ABSL_GUARDED_BY(mutex_) = false;
};

}  // namespace corpgrid::agent
