// What was handed in, and counts.

#include <algorithm>
#include <variant>
#include <vector>

#include "fmt/format.h"
#include "sim/checker.h"

namespace corpgrid::sim {

// The vote that comes with a new state, or has to.
void Checker::LandedVote(const core::ResultRow* row, AttemptId id, AttemptFact* fact,
                         JobFact* job) {
  const core::AttemptState state = fact->state;
  const bool needs_one =
      state == core::AttemptState::kSubmitted || state == core::AttemptState::kAgreed ||
      state == core::AttemptState::kDisagreed || state == core::AttemptState::kFaulted ||
      state == core::AttemptState::kUndecided;
  if (!row) {
    if (needs_one) Fail(fmt::format("attempt {} counts without a result", id.value));
    return;
  }
  if (!WasHandedIn(*row, *fact)) {
    Fail(fmt::format("the result of attempt {} is none that its device signed and uploaded",
                     id.value));
  }
  const bool fault = row->result.outcome == job::Outcome::kDeviceFault;
  if (fault != (state == core::AttemptState::kFaulted)) {
    Fail(fmt::format("attempt {}: a device fault and a vote were mixed up", id.value));
  }
  const bool given_back = row->result.outcome == job::Outcome::kGivenBack;
  if (given_back != (state == core::AttemptState::kGivenBack)) {
    Fail(fmt::format("attempt {}: a vote and what was given back were mixed up", id.value));
  }
  if (fault || given_back) return;
  fact->vote = World::Vote(row->result);
  fact->rounding = World::Rounding(row->result.outputs);
  fact->success = row->result.succeeded();
  ++job->shards[fact->shard.index].votes;
}

bool Checker::WasHandedIn(const core::ResultRow& row, const AttemptFact& fact) const {
  const auto device = devices_.find(fact.device);
  const std::vector<Request>* requests = resurrecting_ ? &unknown_requests_ : applied_;
  if (!requests || device == devices_.end()) return false;
  for (const Request& request : *requests) {
    const auto* submit = std::get_if<core::SubmitResults>(&request.body);
    if (!submit || request.node != device->second.agent) continue;
    for (size_t i = 0; i < submit->results.size(); ++i) {
      const core::HandedIn& in = submit->results[i];
      const Signature& by = request.signatures[i];
      if (in.row.attempt == row.attempt && in.lease_token == fact.token && !by.tampered &&
          by.staged && by.signer == request.node && by.attempt == row.attempt &&
          by.lease_token == fact.token && in.row.result == row.result) {
        return true;
      }
    }
  }
  return false;
}

}  // namespace corpgrid::sim
