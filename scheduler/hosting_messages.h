#pragma once

#include "core/host_report.h"
#include "corpgrid/v1/hosting.pb.h"

namespace corpgrid::scheduler {

// What hosts and people say of models, and back. Nothing that a device says is trusted: what is too
// much is left out.
core::HostReport ToReport(DeviceId device, const corpgrid::v1::HostReport& message);
void ToMessage(const core::HostOrders& orders, corpgrid::v1::HostOrders* out);

core::ModelRow ToRow(const corpgrid::v1::LoadModelRequest& request);
void ToMessage(const core::ModelView& view, corpgrid::v1::LoadedModel* out);
void ToMessage(const std::vector<core::HostView>& hosts,
               corpgrid::v1::ClusterResourcesResponse* out);

}  // namespace corpgrid::scheduler
