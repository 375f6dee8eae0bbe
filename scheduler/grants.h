#pragma once

#include <array>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "core/commands.h"
#include "job/spec.h"
#include "objects/object_store.h"
#include "store/store.h"

namespace corpgrid::scheduler {

// What everyone who deals with a job's attempts needs to know of it. Immutable.
struct JobInfo {
  core::JobRow row;
  job::JobSpec spec;
  uint64_t spec_bytes = 0;
};

// What a live attempt may do with objects: read the job's spec and bundle and its shard's input,
// and stage its outputs, until it ends. Its device must show the lease's token.
struct Grant {
  DeviceId device;
  ShardId shard;
  std::string token;
  std::shared_ptr<const JobInfo> job;
  std::optional<crypto::Hash> checkpoint;
  std::map<std::string, objects::ObjectRef> staged;  // complete ones
  bool touched = false;                              // an upload was begun

  bool MayRead(const crypto::Hash& hash) const;
};

// The grants of all live attempts. Any thread.
class GrantTable {
 public:
  // `store` must outlive the table.
  explicit GrantTable(const store::Store* store) : store_(store) {}

  // The job of a lease that is about to be handed out, from memory or the store.
  absl::StatusOr<std::shared_ptr<const JobInfo>> Job(JobId id);
  void ForgetJob(JobId id);

  void Add(const core::Lease& lease, std::shared_ptr<const JobInfo> job);
  // Ends a grant; true when something may be staged under it.
  bool End(AttemptId attempt);
  // Makes these all that there are. Something may be staged under each. A lease whose job cannot be
  // read gets none.
  void Reset(std::vector<core::Lease> leases);

  // A copy of the grant. Errors: PermissionDenied when there is none, or it is another device's or
  // has another token.
  absl::StatusOr<Grant> Check(AttemptId attempt, DeviceId device, std::string_view token) const;
  // The same whatever the device and the token, for checking what a device claims.
  absl::StatusOr<Grant> Find(AttemptId attempt) const;

  void Touch(AttemptId attempt);
  void RecordStaged(AttemptId attempt, const std::string& name, const objects::ObjectRef& object);

 private:
  const store::Store* const store_;
  mutable absl::Mutex mutex_;
  std::unordered_map<AttemptId, Grant> grants_ ABSL_GUARDED_BY(mutex_);
  std::unordered_map<JobId, std::shared_ptr<const JobInfo>> jobs_ ABSL_GUARDED_BY(mutex_);
};

// The scope in which an attempt's outputs are staged, and its inverse (0 for other scopes).
std::string AttemptScope(AttemptId attempt);
AttemptId AttemptOfScope(std::string_view scope);
// The scope in which an attempt's saved states are staged, and its inverse (0 for other scopes). Of
// its two names there one has the state that was reported last, so that the next upload, however it
// ends, leaves that in place.
std::string StateScope(AttemptId attempt);
AttemptId AttemptOfStateScope(std::string_view scope);
inline constexpr std::array<std::string_view, 2> kStateNames = {"@state-0", "@state-1"};
bool IsStateName(std::string_view name);
// The scope of a person's upload, and who keeps what a job needs and made.
std::string UploadScope(std::string_view upload_id);
std::string JobOwner(JobId job);
JobId JobOfOwner(std::string_view owner);  // 0 for others

}  // namespace corpgrid::scheduler
