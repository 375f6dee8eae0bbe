#pragma once

#include "agent/model_host.h"
#include "agent/scheduler_client.h"
#include "agent/stop_signal.h"
#include "corpgrid/v1/hosting.grpc.pb.h"

namespace corpgrid::agent {

// Keeps a stream open to whoever asks this device's models, and makes the calls that come down it.
// Returns when `stop` is set. One thread.
void RunRelay(corpgrid::v1::Hosts::StubInterface* hosts, SchedulerClient* scheduler,
              const ModelHost* models, StopSignal* stop);

// Tells the scheduler what this device hosts and follows its orders, until `stop` is set. One
// thread.
void RunHosting(corpgrid::v1::Hosts::StubInterface* hosts, SchedulerClient* scheduler,
                ModelHost* models, const ConditionFunction& condition, StopSignal* stop);

}  // namespace corpgrid::agent
