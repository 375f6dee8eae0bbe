#pragma once

#include <vector>

#include "absl/status/statusor.h"
#include "core/commands.h"
#include "corpgrid/v1/scheduler.pb.h"
#include "scheduler/grants.h"

// The agents' messages as the core's commands, and its replies as messages. Any thread.
namespace corpgrid::scheduler {

core::Condition ToCondition(const corpgrid::v1::Condition& message);

// The command of a request that its device signed. `known` are the programs that its agent may say
// it is to be attested (rpc::Measure). Errors: InvalidArgument, and PermissionDenied
// when it did not.
absl::StatusOr<core::RegisterDevice> CheckRegistration(
    const corpgrid::v1::RegisterAgentRequest& request, const std::vector<std::string>& known);

void FillTicket(const JobInfo& info, corpgrid::v1::JobTicket* ticket);
void FillStops(const std::vector<core::Stop>& stops, corpgrid::v1::HeartbeatResponse* response);
void FillVerdicts(const std::vector<core::Verdict>& verdicts,
                  corpgrid::v1::SubmitResultResponse* response);

}  // namespace corpgrid::scheduler
