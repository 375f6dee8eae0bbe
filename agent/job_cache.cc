#include "agent/job_cache.h"

#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <utility>

#include "agent/files.h"
#include "base/status_macros.h"
#include "base/text.h"
#include "job/statement.h"

namespace corpgrid::agent {

// What the submitter signed, checked.
struct JobCache::Statement {
  std::string grid_id;
  crypto::Hash bundle = {};
  crypto::Hash spec = {};
};

absl::StatusOr<JobCache::Statement> JobCache::Verify(const corpgrid::v1::JobTicket& ticket) const {
  ASSIGN_OR_RETURN(const std::shared_ptr<const Registration> registration,
                   scheduler_->CurrentRegistration());
  Statement statement{.grid_id = registration->grid_id};
  ASSIGN_OR_RETURN(statement.bundle, crypto::Hash::FromRaw(ticket.bundle_hash()));
  ASSIGN_OR_RETURN(statement.spec, crypto::Hash::FromRaw(ticket.spec_hash()));
  ASSIGN_OR_RETURN(const crypto::PublicKey submitter,
                   crypto::PublicKey::FromRaw(ticket.submitter_key()));
  ASSIGN_OR_RETURN(const bool trusted, trusts_(submitter));
  if (!trusted) {
    return absl::PermissionDeniedError(
        fmt::format("signed by {} which this device does not trust", submitter.ToText()));
  }
  const absl::Status signature = crypto::Verify(
      submitter, job::JobStatement(statement.grid_id, statement.bundle, statement.spec),
      ticket.signature());
  if (!signature.ok()) {
    return absl::PermissionDeniedError(
        fmt::format("the signature of {} does not cover this bundle and spec", submitter.ToText()));
  }
  return statement;
}

absl::StatusOr<job::JobSpec> JobCache::FetchSpec(const Attempt& attempt,
                                                 const Statement& statement) const {
  std::string bytes;
  const absl::Status fetched =
      scheduler_->Fetch(attempt, statement.spec, kMaxSpecBytes, [&bytes](std::string_view data) {
        bytes.append(data);
        return absl::OkStatus();
      });
  if (absl::IsDataLoss(fetched)) {
    return absl::DataLossError(
        fmt::format("spec hash mismatch: {}", std::string(fetched.message())));
  }
  RETURN_IF_ERROR(fetched);
  ASSIGN_OR_RETURN(job::JobSpec spec, job::JobSpec::Decode(bytes));
  if (spec->limits.network && !allow_network_) {
    return absl::PermissionDeniedError(
        "the job wants the network, which this device does not give");
  }
  return spec;
}

absl::StatusOr<std::shared_ptr<const Bundle>> JobCache::FetchBundle(
    const Attempt& attempt, const Statement& statement,
    const std::function<bool()>& cancelled) const {
  static const crypto::Hash nothing = crypto::Blake3("");
  if (statement.bundle == nothing) return nullptr;
  const uint64_t bytes = attempt.job->bundle_bytes();
  absl::StatusOr<std::shared_ptr<const Bundle>> bundle =
      bundles_->Get(statement.bundle, bytes, [&](int fd) {
        return scheduler_->Fetch(attempt, statement.bundle, bytes, [&](std::string_view data) {
          if (cancelled()) return absl::CancelledError("the attempt was cancelled");
          return WriteAll(fd, data);
        });
      });
  if (absl::IsDataLoss(bundle.status())) {
    return absl::DataLossError(
        fmt::format("bundle hash mismatch: {}", std::string(bundle.status().message())));
  }
  return bundle;
}

absl::StatusOr<std::shared_ptr<const VerifiedJob>> JobCache::Get(
    const Attempt& attempt, const std::function<bool()>& cancelled) {
  const JobId id = attempt.shard.job;
  {
    absl::MutexLock lock(&mutex_);
    const auto it = jobs_.find(id);
    // A ticket for other hashes under a known id is another job: that of a grid made anew.
    if (it != jobs_.end() && it->second->spec_hash.Raw() == attempt.job->spec_hash() &&
        it->second->bundle_hash.Raw() == attempt.job->bundle_hash()) {
      return it->second;
    }
  }
  ASSIGN_OR_RETURN(Statement statement, Verify(*attempt.job));
  ASSIGN_OR_RETURN(job::JobSpec spec, FetchSpec(attempt, statement));
  absl::StatusOr<std::shared_ptr<const Bundle>> bundle = FetchBundle(attempt, statement, cancelled);
  std::string unusable;
  if (absl::IsInvalidArgument(bundle.status())) {
    unusable = std::string(bundle.status().message());
    bundle = nullptr;
  }
  RETURN_IF_ERROR(bundle.status());
  auto verified = std::make_shared<const VerifiedJob>(
      VerifiedJob{id, statement.grid_id, statement.spec, statement.bundle, std::move(spec),
                  *std::move(bundle), std::move(unusable)});
  absl::MutexLock lock(&mutex_);
  if (jobs_.find(id) == jobs_.end()) {
    spdlog::info("job {} \"{}\" verified: {} shards, bundle {}", id.value, verified->spec->name,
                 verified->spec->shards, FormatBytes(attempt.job->bundle_bytes()));
    order_.push_back(id);
  }
  jobs_[id] = verified;
  if (order_.size() > kMaxJobs) {
    jobs_.erase(order_.front());
    order_.pop_front();
  }
  return verified;
}

}  // namespace corpgrid::agent
