#include "scheduler/audit_log.h"

#include <utility>

#include "base/status_macros.h"
#include "fmt/format.h"
#include "spdlog/spdlog.h"

namespace corpgrid::scheduler {

absl::StatusOr<std::unique_ptr<AuditLog>> AuditLog::Open(Parts parts) {
  ASSIGN_OR_RETURN(crypto::KeyPair key, crypto::KeyPair::LoadOrCreate(parts.folder + "/audit.key"));
  return std::unique_ptr<AuditLog>(new AuditLog(std::move(parts), std::move(key)));
}

void AuditLog::Start() {
  signer_ = std::thread([this] { SignUntilStopped(); });
}

void AuditLog::Stop() {
  {
    absl::MutexLock lock(&mutex_);
    stopping_ = true;
  }
  if (signer_.joinable()) signer_.join();
}

void AuditLog::SignUntilStopped() {
  bool told = false;
  for (bool last = false;;) {
    const absl::Status status = Sign().status();
    if (!std::exchange(told, !status.ok()) && !status.ok()) {
      spdlog::error("the audit log is not signed: {}", std::string(status.message()));
    }
    if (last) return;
    absl::MutexLock lock(&mutex_);
    last = mutex_.AwaitWithTimeout(absl::Condition(&stopping_), absl::Milliseconds(kSignMs));
  }
}

absl::StatusOr<AuditLog::Newest> AuditLog::Sign(int64_t max_age_ms) {
  uint64_t begun_before = 0;
  {
    absl::MutexLock lock(&mutex_);
    const int64_t age_ms = parts_.clock->MonotonicMs() - newest_ms_;
    if (newest_.ok() && age_ms < max_age_ms) return newest_;
    begun_before = signings_;
  }
  absl::MutexLock signing(&sign_mutex_);
  uint64_t mine = 0;
  const int64_t now_ms = parts_.clock->MonotonicMs();
  {
    absl::MutexLock lock(&mutex_);
    // What another caller found that began after this one came: all that was committed by then.
    if (newest_signing_ > begun_before) return newest_;
    mine = ++signings_;
  }
  absl::StatusOr<Newest> newest = SignNow();
  absl::MutexLock lock(&mutex_);
  newest_ = newest;
  newest_signing_ = mine;
  newest_ms_ = now_ms;
  return newest;
}

absl::StatusOr<AuditLog::Newest> AuditLog::SignNow() {
  const std::string origin = audit::OriginOf(parts_.grid_id);
  if (!keeper_) {
    ASSIGN_OR_RETURN(audit::Keeper keeper, audit::Keeper::Open(parts_.folder, origin));
    keeper_ = std::make_unique<audit::Keeper>(std::move(keeper));
  }
  ASSIGN_OR_RETURN(const core::LogView view, parts_.view());
  audit::Checkpoint now{.origin = origin, .size = view.size, .root = view.root};
  const absl::Status goes_on = CheckGoesOn(now);
  if (!goes_on.ok() && !absl::IsDataLoss(goes_on)) return goes_on;
  if (!goes_on.ok()) now = *keeper_->kept();
  Newest newest{.checkpoint = now,
                .note = audit::SignedCheckpoint::Sign(std::move(now), key_).Text(),
                .trouble = std::string(goes_on.message())};
  // Its text changes with the log's size.
  if (!std::exchange(told_, !goes_on.ok()) && !goes_on.ok()) {
    spdlog::error("no checkpoint is signed: {}", newest.trouble);
  }
  RETURN_IF_ERROR(keeper_->Keep(newest.note, key_.public_key()));
  return newest;
}

absl::StatusOr<AuditLog::Answer> AuditLog::AnswerTo(uint64_t old_size, int64_t max_age_ms) {
  ASSIGN_OR_RETURN(Newest newest, Sign(max_age_ms));
  Answer answer{.newest = std::move(newest), .consistency = {}};
  const uint64_t size = answer.newest.checkpoint.size;
  if (old_size > size) return answer;
  absl::StatusOr<audit::Proof> proof = audit::ProveConsistency(old_size, size, Reader());
  if (proof.ok()) {
    answer.consistency = *std::move(proof);
  } else if (!absl::IsDataLoss(proof.status())) {
    return proof.status();
  } else if (answer.newest.trouble.empty()) {
    answer.newest.trouble = std::string(proof.status().message());
  }
  return answer;
}

absl::Status AuditLog::CheckGoesOn(const audit::Checkpoint& now) const {
  const auto& kept = keeper_->kept();
  if (!kept) return absl::OkStatus();
  if (now.size < kept->size) {
    return absl::DataLossError(
        fmt::format("the audit log was cut: it has {} entries, the checkpoint in {} has {}",
                    now.size, keeper_->path(), kept->size));
  }
  ASSIGN_OR_RETURN(const audit::Proof proof,
                   audit::ProveConsistency(kept->size, now.size, Reader()));
  return keeper_->CheckExtends(now, proof);
}

audit::ReadNode AuditLog::Reader() const {
  return [read = parts_.read](int level, uint64_t index) -> absl::StatusOr<audit::TreeHash> {
    constexpr size_t kHashBytes = sizeof audit::TreeHash::bytes;
    const uint64_t entry = audit::LastLeafOf(level, index);
    ASSIGN_OR_RETURN(const std::vector<core::AuditRow> rows, read(entry, 1));
    if (rows.empty() || rows[0].index != entry) {
      return absl::DataLossError(fmt::format("entry {} of the audit log is missing", entry));
    }
    const std::string& nodes = rows[0].nodes;
    if (nodes.size() != static_cast<size_t>(audit::CompletedBy(entry)) * kHashBytes) {
      return absl::DataLossError(fmt::format("entry {} of the audit log is damaged", entry));
    }
    return audit::TreeHash::FromRaw(
        std::string_view(nodes).substr(static_cast<size_t>(level) * kHashBytes, kHashBytes));
  };
}

}  // namespace corpgrid::scheduler
