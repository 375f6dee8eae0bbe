#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <string>
#include <unordered_map>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "agent/attempt.h"
#include "agent/bundle_cache.h"
#include "agent/scheduler_client.h"
#include "crypto/hash.h"
#include "crypto/signature.h"
#include "job/spec.h"

namespace corpgrid::agent {

// A job that this device may run: signed by somebody it trusts, with the spec that was signed.
struct VerifiedJob {
  JobId id;
  std::string grid_id;
  crypto::Hash spec_hash;
  crypto::Hash bundle_hash;
  job::JobSpec spec;
  std::shared_ptr<const Bundle> bundle;  // null: the job has none
  std::string unusable;  // why what was signed cannot run anywhere; empty when it can
};

// Fetches, verifies and unpacks what attempts need, once a job. Any thread.
class JobCache {
 public:
  static constexpr size_t kMaxJobs = 16;
  static constexpr uint64_t kMaxSpecBytes = 64ull << 20;

  // Whether jobs of this submitter run here; asked once a job, so that a change takes effect.
  using TrustFunction = std::function<absl::StatusOr<bool>(const crypto::PublicKey&)>;

  // The pointers must outlive the cache.
  JobCache(SchedulerClient* scheduler, BundleCache* bundles, TrustFunction trusts,
           bool allow_network)
      : scheduler_(scheduler),
        bundles_(bundles),
        trusts_(std::move(trusts)),
        allow_network_(allow_network) {}

  // The attempt's job. `cancelled` ends a download. Errors: PermissionDenied for a job that nobody
  // trusted has signed as it is or that wants what this device does not give, DataLoss for bytes
  // that are not what was signed, Cancelled, those of BundleCache and of the calls. A bundle that
  // is what was signed and cannot be unpacked is no error but VerifiedJob::unusable.
  absl::StatusOr<std::shared_ptr<const VerifiedJob>> Get(const Attempt& attempt,
                                                         const std::function<bool()>& cancelled);

 private:
  struct Statement;
  absl::StatusOr<Statement> Verify(const corpgrid::v1::JobTicket& ticket) const;
  absl::StatusOr<job::JobSpec> FetchSpec(const Attempt& attempt, const Statement& statement) const;
  absl::StatusOr<std::shared_ptr<const Bundle>> FetchBundle(
      const Attempt& attempt, const Statement& statement,
      const std::function<bool()>& cancelled) const;

  SchedulerClient* const scheduler_;
  BundleCache* const bundles_;
  const TrustFunction trusts_;
  const bool allow_network_;
  absl::Mutex mutex_;
  std::unordered_map<JobId, std::shared_ptr<const VerifiedJob>> jobs_ ABSL_GUARDED_BY(mutex_);
  std::deque<JobId> order_ ABSL_GUARDED_BY(mutex_);  // oldest first
};

}  // namespace corpgrid::agent
