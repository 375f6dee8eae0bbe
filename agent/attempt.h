#pragma once

#include <memory>
#include <string>

#include "base/ids.h"
#include "corpgrid/v1/objects.pb.h"
#include "corpgrid/v1/scheduler.pb.h"

namespace corpgrid::agent {

// A lease that this agent holds, with the job it is for. Nothing in it is verified yet.
struct Attempt {
  AttemptId id;
  ShardId shard;
  std::string lease_token;
  std::shared_ptr<const corpgrid::v1::JobTicket> job;
  std::string state_hash = {};  // of the state to go on from; empty: from the beginning
  bool careful = false;         // the shard may be what devices died of

  // What opens this attempt's scope of the Objects service.
  corpgrid::v1::Grant Grant() const {
    corpgrid::v1::Grant grant;
    grant.set_attempt_id(id.value);
    grant.set_lease_token(lease_token);
    return grant;
  }
};

}  // namespace corpgrid::agent
