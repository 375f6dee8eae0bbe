#pragma once

#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "audit/checkpoint.h"
#include "audit/keeper.h"
#include "audit/proof.h"
#include "base/clock.h"
#include "core/commands.h"
#include "crypto/signature.h"

namespace corpgrid::scheduler {

// Signs the checkpoints of the audit log, and proves what is in it. The scheduler keeps its last
// checkpoint as every verifier does (audit/keeper.h), and signs none that contradicts it: whoever
// changes the store alone gets no signature for that. Any thread but the core's.
class AuditLog {
 public:
  static constexpr int64_t kSignMs = 1000;  // from one checkpoint to the next

  // What is signed, and where key and last checkpoint are.
  struct Parts {
    std::string folder;
    std::string grid_id;
    // The tree of all that is committed.
    std::function<absl::StatusOr<core::LogView>()> view;
    // As Store::AuditLog.
    std::function<absl::StatusOr<std::vector<core::AuditRow>>(uint64_t first, size_t limit)> read;
    const Clock* clock;
  };
  struct Newest {
    audit::Checkpoint checkpoint;
    std::string note;
    std::string trouble;  // why the log as it is now was not signed; empty when it was
  };
  struct Answer {
    Newest newest;
    // That the caller's log is the newest one's beginning. Empty when it is larger, or when the
    // store lacks what shows it: that is then the trouble.
    audit::Proof consistency;
  };

  // The key is FOLDER/audit.key, made when there is none. Errors: those of the key's file.
  static absl::StatusOr<std::unique_ptr<AuditLog>> Open(Parts parts);
  ~AuditLog() { Stop(); }

  // Signs now and then every kSignMs, on a thread of its own: what is not signed can be changed
  // unseen. Once.
  void Start();
  // Signs what has been logged since, and ends that thread. Idempotent.
  void Stop();

  const crypto::PublicKey& public_key() const { return key_.public_key(); }

  // The checkpoint of all that is committed, or one that is at most `max_age_ms` old; on disk
  // before it is returned. However many callers there are, one signs at a time and the others wait
  // for what it finds. When the log does not go on from the last checkpoint, that one. Errors:
  // DataLoss when the last one cannot be read or is another log's or key's; those of `view` and,
  // unless they are DataLoss, of `read`: a store that is away says nothing of the log.
  absl::StatusOr<Newest> Sign(int64_t max_age_ms = 0);

  // The same for one who knows the log's first `old_size` entries.
  absl::StatusOr<Answer> AnswerTo(uint64_t old_size, int64_t max_age_ms = 0);

  // The tree as the store has it. Errors: DataLoss for an entry that is not there.
  audit::ReadNode Reader() const;

 private:
  AuditLog(Parts parts, crypto::KeyPair key) : parts_(std::move(parts)), key_(std::move(key)) {}

  void SignUntilStopped();
  absl::StatusOr<Newest> SignNow() ABSL_EXCLUSIVE_LOCKS_REQUIRED(sign_mutex_);
  absl::Status CheckGoesOn(const audit::Checkpoint& now) const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(sign_mutex_);

  const Parts parts_;
  const crypto::KeyPair key_;

  absl::Mutex sign_mutex_;  // held while signing, so that no two contradict each other
  std::unique_ptr<audit::Keeper> keeper_ ABSL_GUARDED_BY(sign_mutex_);
  bool told_ ABSL_GUARDED_BY(sign_mutex_) = false;  // of the trouble that there is

  absl::Mutex mutex_;
  uint64_t signings_ ABSL_GUARDED_BY(mutex_) = 0;  // that have begun
  absl::StatusOr<Newest> newest_ ABSL_GUARDED_BY(mutex_) = absl::UnavailableError("not signed yet");
  uint64_t newest_signing_ ABSL_GUARDED_BY(mutex_) = 0;  // which one it is of
  int64_t newest_ms_ ABSL_GUARDED_BY(mutex_) = 0;        // when that began
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  std::thread signer_;
};

}  // namespace corpgrid::scheduler
