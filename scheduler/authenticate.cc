#include "scheduler/authenticate.h"

#include <string_view>

#include "base/status_macros.h"
#include "crypto/signature.h"
#include "rpc/connect.h"
#include "rpc/protocol.h"

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
  if (!crypto::EqualSecrets(Metadata(context, rpc::kTokenKey), person_token_)) {
    return absl::UnauthenticatedError(
        "wrong or missing token: use the data folder of the person who started this grid (--data)");
  }
  return rpc::AgreeOnProtocol(rpc::OurProtocol(), "command line", rpc::CallersProtocol(context))
      .status();
}

absl::StatusOr<Caller> Authenticator::AuthenticateAgentOrPerson(
    const grpc::ServerContextBase& context) const {
  if (!Metadata(context, rpc::kTokenKey).empty()) {
    RETURN_IF_ERROR(AuthenticatePerson(context));
    return Caller::kPerson;
  }
  RETURN_IF_ERROR(AuthenticateAgent(context).status());
  return Caller::kAgent;
}

}  // namespace corpgrid::scheduler
