// The audit log as it reaches the store.

#include <algorithm>
#include <set>
#include <string_view>
#include <utility>

#include "fmt/format.h"
#include "sim/checker.h"

namespace corpgrid::sim {
namespace {

uint64_t CountOf(const core::WriteBatch& batch, std::string_view event) {
  const std::string beginning = fmt::format(R"({{"event":"{}",)", event);
  return static_cast<uint64_t>(
      std::count_if(batch.audit.begin(), batch.audit.end(),
                    [&](const auto& row) { return row.entry.starts_with(beginning); }));
}

// Whoever handed in a result for a shard that others have agreed upon otherwise. Where nobody
// agrees, the shard fails, and nobody is outvoted.
uint64_t Outvoted(const core::WriteBatch& batch) {
  std::set<std::pair<ShardId, uint32_t>> agreed;
  for (const core::AttemptRow& row : batch.attempts) {
    if (row.state == core::AttemptState::kAgreed) agreed.emplace(row.shard, row.try_number);
  }
  return static_cast<uint64_t>(
      std::count_if(batch.attempts.begin(), batch.attempts.end(), [&](const auto& row) {
        return row.state == core::AttemptState::kDisagreed &&
               agreed.contains({row.shard, row.try_number});
      }));
}

}  // namespace

void Checker::LandedAudit(const core::WriteBatch& batch) {
  for (const core::AuditRow& row : batch.audit) {
    if (row.index != audit_.size()) {
      Fail(fmt::format("entry {} of the audit log was written as {}", audit_.size(), row.index));
      return;
    }
    std::string nodes;
    for (const audit::TreeHash& hash : audit_.Append(audit::LeafHash(row.entry))) {
      nodes += hash.Raw();
    }
    if (nodes != row.nodes) Fail(fmt::format("entry {} has other nodes than its own", row.index));
    digest_->Add(row.entry);
  }
  if (batch.meta &&
      (batch.meta->audit_size != audit_.size() || batch.meta->audit_frontier != audit_.Raw())) {
    Fail(fmt::format("the tree of {} entries is told of an audit log of {}", batch.meta->audit_size,
                     audit_.size()));
  }
  const auto ended = static_cast<uint64_t>(
      std::count_if(batch.job_progress.begin(), batch.job_progress.end(), [](const auto& row) {
        return HasEnded(row.state) && row.state != core::JobState::kRemoved;
      }));
  const std::pair<std::string_view, uint64_t> told[] = {
      {"join token created", NewTokens(batch)}, {"device registered", NewDevices(batch)},
      {"job submitted", batch.jobs.size()},     {"job ended", ended},
      {"job removed", NewRemovals(batch)},      {"result outvoted", Outvoted(batch)},
      {"wrong result found", FoundWrong(batch)}};
  for (const auto& [event, count] : told) {
    if (CountOf(batch, event) == count) continue;
    Fail(fmt::format("the audit log tells \"{}\" {} times of {}", event, CountOf(batch, event),
                     count));
  }
}

uint64_t Checker::NewTokens(const core::WriteBatch& batch) {
  uint64_t count = 0;
  for (const core::JoinTokenRow& row : batch.join_tokens) {
    if (tokens_.insert(row.secret_hash).second) ++count;
  }
  return count;
}

// Before LandedProgress has heard of them.
uint64_t Checker::NewRemovals(const core::WriteBatch& batch) const {
  return static_cast<uint64_t>(
      std::count_if(batch.job_progress.begin(), batch.job_progress.end(), [&](const auto& row) {
        return row.state == core::JobState::kRemoved && !IsRemoved(row.id);
      }));
}

// Before LandedDevice has heard of them.
uint64_t Checker::NewDevices(const core::WriteBatch& batch) const {
  std::set<DeviceId> fresh;
  for (const core::DeviceRow& row : batch.devices) {
    const auto known = devices_.find(row.id);
    if (known == devices_.end() || !known->second.row.id) fresh.insert(row.id);
  }
  return fresh.size();
}

}  // namespace corpgrid::sim
