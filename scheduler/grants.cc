#include "scheduler/grants.h"

#include <algorithm>
#include <charconv>
#include <utility>

#include "base/status_macros.h"
#include "crypto/signature.h"
#include "fmt/format.h"
#include "spdlog/spdlog.h"

namespace corpgrid::scheduler {
namespace {

constexpr std::string_view kAttemptPrefix = "attempt-";
constexpr std::string_view kStatePrefix = "state-";

constexpr std::string_view kJobPrefix = "job-";

template <typename Id>
Id IdAfter(std::string_view prefix, std::string_view scope) {
  Id id;
  if (!scope.starts_with(prefix)) return id;
  std::from_chars(scope.data() + prefix.size(), scope.data() + scope.size(), id.value);
  return id;
}

}  // namespace

bool Grant::MayRead(const crypto::Hash& hash) const {
  if (hash == job->row.bundle_hash || hash == job->row.spec_hash || checkpoint == hash) return true;
  const std::vector<job::Input>& inputs = job->spec->inputs;
  return shard.index < inputs.size() && inputs[shard.index].hash == hash;
}

absl::StatusOr<std::shared_ptr<const JobInfo>> GrantTable::Job(JobId id) {
  {
    absl::MutexLock lock(&mutex_);
    if (const auto it = jobs_.find(id); it != jobs_.end()) return it->second;
  }
  ASSIGN_OR_RETURN(core::JobRow row, store_->Job(id));
  ASSIGN_OR_RETURN(job::JobSpec spec, job::JobSpec::Decode(row.spec));
  const uint64_t spec_bytes = row.spec.size();
  row.spec.clear();
  auto info = std::make_shared<const JobInfo>(JobInfo{std::move(row), std::move(spec), spec_bytes});
  absl::MutexLock lock(&mutex_);
  jobs_[id] = info;
  return info;
}

void GrantTable::ForgetJob(JobId id) {
  absl::MutexLock lock(&mutex_);
  jobs_.erase(id);
}

void GrantTable::Add(const core::Lease& lease, std::shared_ptr<const JobInfo> job) {
  absl::MutexLock lock(&mutex_);
  Grant& grant = grants_[lease.attempt];  // A lease that is given again keeps what is staged.
  grant.device = lease.device;
  grant.shard = lease.shard;
  grant.token = lease.token;
  grant.checkpoint = lease.checkpoint;
  grant.job = std::move(job);
}

bool GrantTable::End(AttemptId attempt) {
  absl::MutexLock lock(&mutex_);
  const auto it = grants_.find(attempt);
  if (it == grants_.end()) return true;  // Unknown: perhaps from before a restart.
  const bool touched = it->second.touched;
  grants_.erase(it);
  return touched;
}

void GrantTable::Reset(std::vector<core::Lease> leases) {
  std::unordered_map<AttemptId, Grant> grants;
  grants.reserve(leases.size());
  std::shared_ptr<const JobInfo> job;  // Leases of one job follow each other.
  for (core::Lease& lease : leases) {
    if (!job || job->row.id != lease.shard.job) {
      auto found = Job(lease.shard.job);
      if (!found.ok()) {
        spdlog::error("job {}: {}", lease.shard.job.value, found.status().ToString());
        continue;
      }
      job = *std::move(found);
    }
    grants.emplace(lease.attempt, Grant{.device = lease.device,
                                        .shard = lease.shard,
                                        .token = std::move(lease.token),
                                        .job = job,
                                        .checkpoint = lease.checkpoint,
                                        .staged = {},
                                        .touched = true});
  }
  absl::MutexLock lock(&mutex_);
  grants_ = std::move(grants);
}

absl::StatusOr<Grant> GrantTable::Check(AttemptId attempt, DeviceId device,
                                        std::string_view token) const {
  absl::MutexLock lock(&mutex_);
  const auto it = grants_.find(attempt);
  if (it == grants_.end() || it->second.device != device ||
      !crypto::EqualSecrets(it->second.token, token)) {
    return absl::PermissionDeniedError(
        fmt::format("no grant for attempt {}: it has ended or is another device's", attempt.value));
  }
  return it->second;
}

absl::StatusOr<Grant> GrantTable::Find(AttemptId attempt) const {
  absl::MutexLock lock(&mutex_);
  const auto it = grants_.find(attempt);
  if (it == grants_.end()) return absl::NotFoundError("no such live attempt");
  return it->second;
}

void GrantTable::Touch(AttemptId attempt) {
  absl::MutexLock lock(&mutex_);
  if (const auto it = grants_.find(attempt); it != grants_.end()) it->second.touched = true;
}

void GrantTable::RecordStaged(AttemptId attempt, const std::string& name,
                              const objects::ObjectRef& object) {
  absl::MutexLock lock(&mutex_);
  if (const auto it = grants_.find(attempt); it != grants_.end()) it->second.staged[name] = object;
}

std::string AttemptScope(AttemptId attempt) {
  return fmt::format("{}{}", kAttemptPrefix, attempt.value);
}

AttemptId AttemptOfScope(std::string_view scope) {
  return IdAfter<AttemptId>(kAttemptPrefix, scope);
}

std::string StateScope(AttemptId attempt) {
  return fmt::format("{}{}", kStatePrefix, attempt.value);
}

AttemptId AttemptOfStateScope(std::string_view scope) {
  return IdAfter<AttemptId>(kStatePrefix, scope);
}

bool IsStateName(std::string_view name) {
  return std::find(kStateNames.begin(), kStateNames.end(), name) != kStateNames.end();
}

std::string UploadScope(std::string_view upload_id) { return fmt::format("upload-{}", upload_id); }

std::string JobOwner(JobId job) { return fmt::format("{}{}", kJobPrefix, job.value); }

JobId JobOfOwner(std::string_view owner) { return IdAfter<JobId>(kJobPrefix, owner); }

}  // namespace corpgrid::scheduler
