#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "audit/checkpoint.h"
#include "audit/proof.h"
#include "base/file.h"
#include "crypto/signature.h"

namespace corpgrid::audit {

// What one who watches a log remembers of it from one look to the next, in a folder: the key it
// showed first (audit.pub) and the last checkpoint (audit.checkpoint). A log whose tail was cut, or
// that was written anew, is one that its own key signs: only who remembers can tell. One keeper a
// folder at a time; one thread.
class Keeper {
 public:
  // `origin` is the log's (OriginOf). Errors: DataLoss for a file that is damaged or of another
  // log, FailedPrecondition while another process has the folder's keeper.
  static absl::StatusOr<Keeper> Open(const std::string& folder, std::string_view origin);

  // The last checkpoint, if any was ever kept.
  const std::optional<Checkpoint>& kept() const { return kept_; }
  // Where it is; messages name it.
  const std::string& path() const { return checkpoint_path_; }

  // The checkpoint in `text` when it is well-formed, of this log, signed with its key (`key` when
  // none was seen before) and no smaller than the kept one. Errors: InvalidArgument, and DataLoss
  // that says which two contradict each other.
  absl::StatusOr<Checkpoint> Check(std::string_view text, const crypto::PublicKey& key) const;

  // Whether `newer`, which Check gave, begins with what the kept one covers. Errors: DataLoss.
  absl::Status CheckExtends(const Checkpoint& newer, std::span<const TreeHash> proof) const;

  // Keeps what was checked, by either proof or reading, to extend the kept one; on disk when it
  // returns OK. The file is the one before or this one, whatever happens.
  absl::Status Keep(std::string_view text, const crypto::PublicKey& key);

  // The same with the proof that the log gave for it, and with `trouble`, what it says of itself:
  // who says that something is wrong may have no proof, and need not be told that it is bad.
  // Errors: those of Check and CheckExtends; DataLoss with `trouble` unless it is empty.
  absl::Status KeepProven(std::string_view text, const crypto::PublicKey& key,
                          std::span<const TreeHash> proof, const std::string& trouble);

 private:
  Keeper(FileLock lock, const std::string& folder, std::string_view origin);
  absl::Status Read();

  FileLock lock_;
  std::string origin_;
  std::string key_path_;
  std::string checkpoint_path_;
  std::optional<crypto::PublicKey> key_;
  std::optional<Checkpoint> kept_;
};

}  // namespace corpgrid::audit
