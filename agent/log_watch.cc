#include "agent/log_watch.h"

#include <fmt/format.h>

#include <random>

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
  // The agents of a grid that has just started shall not go on looking at the same moment.
  std::minstd_rand random(reinterpret_cast<uintptr_t>(this));
  std::uniform_int_distribution<int64_t> between(times_.look_ms * 3 / 4, times_.look_ms * 5 / 4);
  std::string session;
  int64_t wait_ms = 0;  // until the next look
  for (; !stop->stopped(); stop->WaitFor(times_.ask_ms)) {
    const auto registration = scheduler_->CurrentRegistration();
    if (!registration.ok()) continue;
    wait_ms -= times_.ask_ms;
    silent_ms_ += times_.ask_ms;
    const bool again = std::exchange(session, (*registration)->session) != session;
    if (!again && wait_ms > 0) continue;
    wait_ms = between(random);
    Judge(Look());
  }
}

void LogWatch::Judge(const absl::Status& status) {
  const std::string why(status.message());
  if (status.ok()) {
    told_ = Told::kNothing;
    silent_ms_ = 0;
  } else if (absl::IsDataLoss(status) || absl::IsInvalidArgument(status)) {
    if (std::exchange(told_, Told::kTrouble) != Told::kTrouble) tell_(why);
  } else if (told_ == Told::kNothing && silent_ms_ >= times_.silent_ms) {
    // A scheduler that is away, or one that does not show what became of the log.
    told_ = Told::kSilence;
    tell_(
        fmt::format("no look at it succeeded for {} s; the last one: {}", silent_ms_ / 1000, why));
  }
}

absl::Status LogWatch::Look() {
  ASSIGN_OR_RETURN(const auto registration, scheduler_->CurrentRegistration());
  ASSIGN_OR_RETURN(audit::Keeper keeper,
                   audit::Keeper::Open(folder_, audit::OriginOf(registration->grid_id)));
  const uint64_t old_size = keeper.kept() ? keeper.kept()->size : 0;
  ASSIGN_OR_RETURN(const corpgrid::v1::CheckpointResponse reply,
                   scheduler_->LogCheckpoint(old_size));
  ASSIGN_OR_RETURN(const crypto::PublicKey key, crypto::PublicKey::FromRaw(reply.public_key()));
  ASSIGN_OR_RETURN(const audit::Proof proof, ReadProof(reply));
  return keeper.KeepProven(reply.note(), key, proof, reply.trouble());
}

}  // namespace corpgrid::agent
