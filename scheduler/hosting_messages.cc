#include "scheduler/hosting_messages.h"

#include <algorithm>
#include <limits>
#include <map>
#include <string>

#include "core/hosting.h"
#include "job/spec.h"
#include "job/text.h"

namespace corpgrid::scheduler {
namespace {

namespace pb = corpgrid::v1;

constexpr size_t kMaxTextBytes = 4096;
constexpr uint64_t kMaxBytes = uint64_t{1} << 50;
constexpr uint64_t kMaxMs = uint64_t{1} << 53;

// Cut where a character ends.
std::string Short(const std::string& text) {
  std::string cut = text.substr(0, kMaxTextBytes);
  cut.resize(job::FirstBadUtf8(cut));
  return cut;
}

core::ReplicaState ToState(pb::HostedModel::State state) {
  switch (state) {
    case pb::HostedModel::READY:
      return core::ReplicaState::kReady;
    case pb::HostedModel::FAILED:
      return core::ReplicaState::kFailed;
    default:
      return core::ReplicaState::kLoading;
  }
}

pb::HostedModel::State ToMessage(core::ReplicaState state) {
  switch (state) {
    case core::ReplicaState::kAssigned:
      return pb::HostedModel::ASSIGNED;
    case core::ReplicaState::kLoading:
      return pb::HostedModel::LOADING;
    case core::ReplicaState::kReady:
      return pb::HostedModel::READY;
    case core::ReplicaState::kFailed:
      return pb::HostedModel::FAILED;
  }
  return pb::HostedModel::FAILED;
}

void ToMessage(const core::ModelRow& row, pb::HostedSettings* out) {
  out->set_replicas(row.replicas);
  out->set_sequences(row.sequences);
  out->set_context(row.context);
  out->set_idle_unload_ms(static_cast<uint64_t>(row.idle_ms));
}

}  // namespace

core::HostReport ToReport(DeviceId device, const pb::HostReport& message) {
  core::HostReport report{
      .device = device,
      .limit_bytes = std::min(message.limit_bytes(), kMaxBytes),
      .free_bytes = std::min({message.free_bytes(), message.limit_bytes(), kMaxBytes})};
  for (const pb::HostReport::Held& held : message.held()) {
    if (report.held.size() == core::Hosting::kMaxHeld) break;
    if (held.digest().size() != 32 || held.name().size() > core::Hosting::kMaxNameBytes) continue;
    report.held.push_back({held.name(), held.digest(), std::min(held.bytes(), kMaxBytes)});
  }
  for (const pb::HostedModel& hosted : message.hosted()) {
    if (report.hosted.size() == core::Hosting::kMaxModels) break;
    report.hosted.push_back({.name = Short(hosted.name()),
                             .version = hosted.version(),
                             .state = ToState(hosted.state()),
                             .needs_bytes = hosted.needs_bytes(),
                             .resident_bytes = hosted.resident_bytes(),
                             .running = hosted.running(),
                             .waiting = hosted.waiting(),
                             .idle_ms = static_cast<int64_t>(std::min(hosted.idle_ms(), kMaxMs)),
                             .error = Short(hosted.error())});
  }
  return report;
}

void ToMessage(const core::HostOrders& orders, pb::HostOrders* out) {
  for (const core::ModelRow& row : orders.models) {
    pb::HostOrders::Model* model = out->add_models();
    model->set_name(row.name);
    model->set_version(row.version);
    model->set_digest(row.digest);
    ToMessage(row, model->mutable_settings());
  }
}

core::ModelRow ToRow(const pb::LoadModelRequest& request) {
  const pb::HostedSettings& settings = request.settings();
  return {.name = request.name(),
          .digest = request.digest(),
          .replicas = settings.replicas() == 0 ? 1 : settings.replicas(),
          .sequences = settings.sequences(),
          .context = settings.context(),
          .idle_ms = static_cast<int64_t>(std::min(settings.idle_unload_ms(), kMaxMs))};
}

void ToMessage(const core::ModelView& view, pb::LoadedModel* out) {
  out->set_name(view.row.name);
  out->set_digest(view.row.digest);
  ToMessage(view.row, out->mutable_settings());
  out->set_asleep(view.asleep);
  out->set_why(view.why);
  for (const core::ReplicaView& replica : view.replicas) {
    pb::Replica* one = out->add_replicas();
    one->set_device_id(replica.device.value);
    one->set_device_name(replica.device_name);
    pb::HostedModel* hosted = one->mutable_hosted();
    hosted->set_name(replica.hosted.name);
    hosted->set_version(replica.hosted.version);
    hosted->set_state(ToMessage(replica.hosted.state));
    hosted->set_needs_bytes(replica.hosted.needs_bytes);
    hosted->set_resident_bytes(replica.hosted.resident_bytes);
    hosted->set_running(replica.hosted.running);
    hosted->set_waiting(replica.hosted.waiting);
    hosted->set_idle_ms(static_cast<uint64_t>(replica.hosted.idle_ms));
    hosted->set_error(replica.hosted.error);
  }
}

void ToMessage(const std::vector<core::HostView>& hosts, pb::ClusterResourcesResponse* out) {
  std::map<std::string, pb::ClusterResourcesResponse::Backend> backends;
  for (const core::HostView& host : hosts) {
    // Workers compute on GPUs where there are any.
    std::string backend = "cpu";
    for (const job::Backend gpu :
         {job::Backend::kCuda, job::Backend::kMetal, job::Backend::kVulkan}) {
      if (host.backends >> static_cast<unsigned>(gpu) & 1) {
        backend = std::string(job::ToText(gpu));
        break;
      }
    }
    auto& sum = backends[backend];
    sum.set_backend(backend);
    sum.set_devices(sum.devices() + 1);
    if (host.closed.empty()) sum.set_taking(sum.taking() + 1);
    sum.set_limit_bytes(sum.limit_bytes() + host.limit_bytes);
    sum.set_free_bytes(sum.free_bytes() + host.free_bytes);
  }
  for (auto& [name, sum] : backends) *out->add_backends() = std::move(sum);
}

}  // namespace corpgrid::scheduler
