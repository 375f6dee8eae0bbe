#include "agent/log_watch.h"

#include <spdlog/spdlog.h>

#include <utility>
#include <vector>

#include "agent/transient.h"
#include "audit/keeper.h"
#include "base/status_macros.h"

namespace corpgrid::agent {
namespace {

absl::StatusOr<audit::Proof> ReadProof(const corpgrid::v1::CheckpointResponse& reply) {
  audit::Proof proof;
  for (const std::string& raw : reply.consistency()) {
    ASSIGN_OR_RETURN(proof.emplace_back(), audit::TreeHash::FromRaw(raw));
  }
  return proof;
}

}  // namespace

void LogWatch::Run(StopSignal* stop) {
  std::string session;
  std::string told;
  int64_t waited_ms = 0;
  for (; !stop->stopped(); waited_ms += kAskMs, stop->WaitFor(kAskMs)) {
    const auto registration = scheduler_->CurrentRegistration();
    if (!registration.ok()) continue;
    const bool again = std::exchange(session, (*registration)->session) != session;
    if (!again && waited_ms < kLookMs) continue;
    waited_ms = 0;
    const absl::Status status = Look();
    if (status.ok() || IsTransient(status)) continue;
    const std::string trouble(status.message());
    if (std::exchange(told, trouble) != trouble) spdlog::error("the grid's audit log: {}", trouble);
  }
}

absl::Status LogWatch::Look() {
  ASSIGN_OR_RETURN(const auto registration, scheduler_->CurrentRegistration());
  ASSIGN_OR_RETURN(audit::Keeper keeper,
                   audit::Keeper::Open(folder_, audit::OriginOf(registration->grid_id)));
  const uint64_t old_size = keeper.kept() ? keeper.kept()->size : 0;
  ASSIGN_OR_RETURN(const corpgrid::v1::CheckpointResponse reply, scheduler_->Checkpoint(old_size));
  ASSIGN_OR_RETURN(const crypto::PublicKey key, crypto::PublicKey::FromRaw(reply.public_key()));
  ASSIGN_OR_RETURN(const audit::Proof proof, ReadProof(reply));
  return keeper.KeepProven(reply.note(), key, proof, reply.trouble());
}

}  // namespace corpgrid::agent
