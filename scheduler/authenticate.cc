#include "scheduler/authenticate.h"

#include <string_view>

#include "crypto/signature.h"
#include "rpc/connect.h"

namespace corpgrid::scheduler {
namespace {

std::string Metadata(const grpc::ServerContextBase& context, const char* key) {
  const auto it = context.client_metadata().find(key);
  if (it == context.client_metadata().end()) return "";
  return std::string(it->second.data(), it->second.size());
}

}  // namespace

absl::StatusOr<AgentIdentity> Authenticator::AuthenticateAgent(
    const grpc::ServerContextBase& context) const {
  return sessions_->Find(Metadata(context, rpc::kSessionKey));
}

absl::Status Authenticator::AuthenticatePerson(const grpc::ServerContextBase& context) const {
  if (crypto::EqualSecrets(Metadata(context, rpc::kTokenKey), person_token_))
    return absl::OkStatus();
  return absl::UnauthenticatedError(
      "wrong or missing token: use the data folder of the person who started this grid (--data)");
}

absl::Status Authenticator::AuthenticateAnyone(const grpc::ServerContextBase& context) const {
  const absl::Status agent = AuthenticateAgent(context).status();
  return agent.ok() || AuthenticatePerson(context).ok() ? absl::OkStatus() : agent;
}

}  // namespace corpgrid::scheduler
