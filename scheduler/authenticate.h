#pragma once

#include <grpcpp/server_context.h>

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "scheduler/sessions.h"

namespace corpgrid::scheduler {

enum class Caller { kAgent, kPerson };

// Who calls: every handler asks one of these first. Any thread.
class Authenticator {
 public:
  // `sessions` must outlive it; `person_token` is what the person who owns the grid shows.
  Authenticator(const SessionTable* sessions, std::string person_token)
      : sessions_(sessions), person_token_(std::move(person_token)) {}

  // Errors: Unauthenticated.
  absl::StatusOr<AgentIdentity> AuthenticateAgent(const grpc::ServerContextBase& context) const;
  // Errors: Unauthenticated, and FailedPrecondition for a command line of which no protocol version
  // is spoken here. (Agents' sessions began with that.)
  absl::Status AuthenticatePerson(const grpc::ServerContextBase& context) const;
  // Either; the error is that of the credential which is shown, of the agents' when none is.
  absl::StatusOr<Caller> AuthenticateAgentOrPerson(const grpc::ServerContextBase& context) const;

 private:
  const SessionTable* const sessions_;
  const std::string person_token_;
};

}  // namespace corpgrid::scheduler
