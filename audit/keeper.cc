#include "audit/keeper.h"

#include <utility>

#include "base/status_macros.h"
#include "crypto/key_file.h"
#include "fmt/format.h"

namespace corpgrid::audit {
namespace {

constexpr size_t kMaxKeyBytes = 1024;

// Nothing where there is no such file.
absl::StatusOr<std::optional<std::string>> ReadIfThere(const std::string& path, size_t limit) {
  const auto any_owner = [](const struct stat&) { return absl::OkStatus(); };
  absl::StatusOr<std::string> text = crypto::ReadKeyFile(path, limit, any_owner);
  if (absl::IsNotFound(text.status())) return std::nullopt;
  RETURN_IF_ERROR(text.status());
  return *std::move(text);
}

absl::Status Damaged(const std::string& path, const absl::Status& why) {
  return absl::DataLossError(fmt::format(
      "{} cannot be used ({}); restore it, or delete it to trust what the log says next", path,
      std::string(why.message())));
}

}  // namespace

Keeper::Keeper(FileLock lock, const std::string& folder, std::string_view origin)
    : lock_(std::move(lock)),
      origin_(origin),
      key_path_(folder + "/audit.pub"),
      checkpoint_path_(folder + "/audit.checkpoint") {}

absl::StatusOr<Keeper> Keeper::Open(const std::string& folder, std::string_view origin) {
  ASSIGN_OR_RETURN(FileLock lock, FileLock::Take(folder + "/audit.lock"));
  Keeper keeper(std::move(lock), folder, origin);
  RETURN_IF_ERROR(keeper.Read());
  return keeper;
}

absl::Status Keeper::Read() {
  ASSIGN_OR_RETURN(std::optional<std::string> key, ReadIfThere(key_path_, kMaxKeyBytes));
  if (key) {
    while (key->ends_with('\n')) key->pop_back();
    const absl::StatusOr<crypto::PublicKey> parsed = crypto::PublicKey::FromText(*key);
    if (!parsed.ok()) return Damaged(key_path_, parsed.status());
    key_ = *parsed;
  }
  ASSIGN_OR_RETURN(const std::optional<std::string> text,
                   ReadIfThere(checkpoint_path_, SignedCheckpoint::kMaxBytes));
  if (!text) return absl::OkStatus();
  absl::StatusOr<SignedCheckpoint> kept = SignedCheckpoint::Parse(*text);
  if (!kept.ok()) return Damaged(checkpoint_path_, kept.status());
  if (!key_) return Damaged(key_path_, absl::NotFoundError("it is gone"));
  if (const absl::Status status = kept->Verify(origin_, *key_); !status.ok()) {
    return Damaged(checkpoint_path_, status);
  }
  kept_ = std::move(kept->checkpoint);
  return absl::OkStatus();
}

absl::StatusOr<Checkpoint> Keeper::Check(std::string_view text,
                                         const crypto::PublicKey& key) const {
  if (key_ && *key_ != key) {
    return absl::DataLossError(
        fmt::format("the log shows the key {}, but its key is {} ({}): somebody else's log stands "
                    "in its place, or its key was lost",
                    key.ToText(), key_->ToText(), key_path_));
  }
  ASSIGN_OR_RETURN(SignedCheckpoint shown, SignedCheckpoint::Parse(text));
  if (const absl::Status status = shown.Verify(origin_, key); !status.ok()) {
    return absl::DataLossError(std::string(status.message()));
  }
  if (kept_ && shown.checkpoint.size < kept_->size) {
    return absl::DataLossError(
        fmt::format("the log was cut: its checkpoint has {} entries, the one kept in {} has {}",
                    shown.checkpoint.size, checkpoint_path_, kept_->size));
  }
  return std::move(shown.checkpoint);
}

absl::Status Keeper::CheckExtends(const Checkpoint& newer, std::span<const TreeHash> proof) const {
  if (!kept_) return absl::OkStatus();
  const absl::Status status =
      VerifyConsistency(kept_->size, kept_->root, newer.size, newer.root, proof);
  if (status.ok()) return status;
  return absl::DataLossError(fmt::format(
      "the log was changed: its checkpoint of {} entries does not begin with the {} entries of the "
      "one kept in {}",
      newer.size, kept_->size, checkpoint_path_));
}

absl::Status Keeper::Keep(std::string_view text, const crypto::PublicKey& key) {
  ASSIGN_OR_RETURN(Checkpoint checkpoint, Check(text, key));
  if (kept_ == checkpoint) return absl::OkStatus();
  if (!key_) {
    RETURN_IF_ERROR(
        crypto::WriteKeyFile(key_path_, key.ToText() + "\n", 0644, crypto::IfExists::kReplace));
    key_ = key;
  }
  RETURN_IF_ERROR(crypto::WriteKeyFile(checkpoint_path_, text, 0644, crypto::IfExists::kReplace));
  kept_ = std::move(checkpoint);
  return absl::OkStatus();
}

absl::Status Keeper::KeepProven(std::string_view text, const crypto::PublicKey& key,
                                std::span<const TreeHash> proof, const std::string& trouble) {
  ASSIGN_OR_RETURN(const Checkpoint checkpoint, Check(text, key));
  const absl::Status extends = CheckExtends(checkpoint, proof);
  const absl::Status said = trouble.empty() ? absl::OkStatus() : absl::DataLossError(trouble);
  if (!extends.ok()) return !said.ok() && proof.empty() ? said : extends;
  RETURN_IF_ERROR(Keep(text, key));
  return said;
}

}  // namespace corpgrid::audit
