#pragma once

#include <string>
#include <string_view>
#include <unordered_map>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "base/ids.h"

namespace corpgrid::scheduler {

struct AgentIdentity {
  DeviceId device;
  std::string public_key;
};

// Which device a session belongs to. Sessions live in memory: after a restart of the scheduler
// agents register again. Any thread.
class SessionTable {
 public:
  // A new session for the device; an older one of the same device ends.
  std::string Open(const AgentIdentity& agent);
  // Errors: Unauthenticated.
  absl::StatusOr<AgentIdentity> Find(std::string_view session) const;

 private:
  mutable absl::Mutex mutex_;
  std::unordered_map<std::string, AgentIdentity> agents_ ABSL_GUARDED_BY(mutex_);
  std::unordered_map<DeviceId, std::string> session_of_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace corpgrid::scheduler
