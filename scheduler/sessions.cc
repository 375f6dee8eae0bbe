#include "scheduler/sessions.h"

#include "crypto/signature.h"

namespace corpgrid::scheduler {

std::string SessionTable::Open(const AgentIdentity& agent) {
  std::string session = crypto::RandomBytes(32);
  absl::MutexLock lock(&mutex_);
  std::string& current = session_of_[agent.device];
  agents_.erase(current);
  current = session;
  agents_[session] = agent;
  return session;
}

absl::StatusOr<AgentIdentity> SessionTable::Find(std::string_view session) const {
  absl::MutexLock lock(&mutex_);
  const auto it = agents_.find(std::string(session));
  if (it == agents_.end()) {
    return absl::UnauthenticatedError("no such session: the device must register (again)");
  }
  return it->second;
}

}  // namespace corpgrid::scheduler
