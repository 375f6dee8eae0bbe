#pragma once

#include <string_view>
#include <vector>

#include "core/commands.h"
#include "corpgrid/v1/scheduler.pb.h"
#include "scheduler/grants.h"
#include "scheduler/sessions.h"

namespace corpgrid::scheduler {

// What the core is told of the results that `agent` hands in: whether the device signed each, be it
// alone or with the others of the call, and whether its outputs are the ones that the job asks for
// and are here. One that is wrong costs the others of the call nothing; a signature over all of
// them that is wrong, all. Any thread.
std::vector<core::HandedIn> CheckResults(std::string_view grid_id, const GrantTable& grants,
                                         const AgentIdentity& agent,
                                         const corpgrid::v1::SubmitResultRequest& request);

}  // namespace corpgrid::scheduler
