#pragma once

#include <string>

#include "corpgrid/v1/scheduler.pb.h"

namespace corpgrid::rpc {

// What a device signs when it registers: every field of the request but the signatures themselves
// and the condition, in the message's order (domain "corpgrid register"). The agent signs it, the
// scheduler verifies it. Any thread.
std::string FullRegistrationStatement(const corpgrid::v1::RegisterAgentRequest& request);

// The same as it was in version 1, without the device's labels, drivers and program.
std::string RegistrationStatement(const corpgrid::v1::RegisterAgentRequest& request);

}  // namespace corpgrid::rpc
