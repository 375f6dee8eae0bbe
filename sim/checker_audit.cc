// The audit log as it reaches the store.

#include <algorithm>
#include <string_view>

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
  const auto ended =
      static_cast<uint64_t>(std::count_if(batch.job_progress.begin(), batch.job_progress.end(),
                                          [](const auto& row) { return HasEnded(row.state); }));
  if (CountOf(batch, "job submitted") != batch.jobs.size() ||
      CountOf(batch, "job ended") != ended) {
    Fail(fmt::format("the audit log tells of {} jobs that begin and {} that end, not {} and {}",
                     CountOf(batch, "job submitted"), CountOf(batch, "job ended"),
                     batch.jobs.size(), ended));
  }
}

}  // namespace corpgrid::sim
