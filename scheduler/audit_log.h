#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "audit/checkpoint.h"
#include "audit/keeper.h"
#include "audit/proof.h"
#include "crypto/signature.h"
#include "scheduler/core_loop.h"
#include "store/store.h"

namespace corpgrid::scheduler {

// Signs the checkpoints of the audit log, and proves what is in it. The scheduler keeps its last
// checkpoint as every verifier does (audit/keeper.h), and signs none that contradicts it: whoever
// changes the store alone gets no signature for that. Any thread but the core's.
class AuditLog {
 public:
  struct Newest {
    audit::Checkpoint checkpoint;
    std::string note;
    std::string trouble;  // why the log as it is now was not signed; empty when it was
  };

  // The key is FOLDER/audit.key, made when there is none. `store` and `loop` must outlive the log.
  // Errors: those of the key's file.
  static absl::StatusOr<std::unique_ptr<AuditLog>> Open(const std::string& folder,
                                                        const store::Store* store, CoreLoop* loop);

  const crypto::PublicKey& public_key() const { return key_.public_key(); }

  // The checkpoint of all that is committed, on disk before it is returned. When the log does not
  // go on from the last checkpoint, that one. Errors: DataLoss when the last one cannot be read or
  // is another log's or key's; those of the core.
  absl::StatusOr<Newest> Sign();

  // The tree as the store has it. Errors: DataLoss for an entry that is not there.
  audit::ReadNode Reader() const;

 private:
  AuditLog(std::string folder, crypto::KeyPair key, const store::Store* store, CoreLoop* loop)
      : folder_(std::move(folder)), key_(std::move(key)), store_(store), loop_(loop) {}

  absl::Status CheckGoesOn(const audit::Checkpoint& now) const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const std::string folder_;
  const crypto::KeyPair key_;
  const store::Store* const store_;
  CoreLoop* const loop_;

  absl::Mutex mutex_;  // held while signing, so that no two contradict each other
  std::unique_ptr<audit::Keeper> keeper_ ABSL_GUARDED_BY(mutex_);
  std::string told_ ABSL_GUARDED_BY(mutex_);  // the trouble that was logged last
};

}  // namespace corpgrid::scheduler
