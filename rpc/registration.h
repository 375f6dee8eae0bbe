#pragma once

#include <string>

#include "corpgrid/v1/scheduler.pb.h"

namespace corpgrid::rpc {

// What a device signs when it registers: every field of the request but the signature itself and
// the power status, in the message's order (domain "corpgrid register"). The agent signs it, the
// scheduler verifies it. Any thread.
std::string RegistrationStatement(const corpgrid::v1::RegisterAgentRequest& request);

}  // namespace corpgrid::rpc
