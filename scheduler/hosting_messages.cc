#include "scheduler/hosting_messages.h"

#include <algorithm>
#include <limits>
#include <map>
#include <optional>
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

// At most 1; nothing of what is no number or less than 0.
std::optional<double> Fraction(double value) {
  if (!(value >= 0)) return std::nullopt;
  return std::min(value, 1.);
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
  out->set_type(row.type);
  out->set_shared_memory(row.shared_memory);
  out->set_memory_bytes(row.memory_bytes);
}

}  // namespace

core::HostReport ToReport(DeviceId device, const pb::HostReport& message) {
  core::HostReport report{
      .device = device,
      .limit_bytes = std::min(message.limit_bytes(), kMaxBytes),
      .free_bytes = std::min({message.free_bytes(), message.limit_bytes(), kMaxBytes})};
  report.quantises = message.quantises();
  report.receives = message.receives();
  report.shares_memory = message.heeds() >= pb::HostedSettings::kSharedMemoryFieldNumber;
  report.limits_memory = message.heeds() >= pb::HostedSettings::kMemoryBytesFieldNumber;
  report.total_bytes = std::min(message.total_bytes(), kMaxBytes);
  for (const pb::HostReport::Held& held : message.held()) {
    if (report.held.size() == core::Hosting::kMaxHeld) break;
    if (held.digest().size() != 32 || held.name().size() > core::Hosting::kMaxNameBytes) continue;
    report.held.push_back({held.name(), held.digest(), std::min(held.bytes(), kMaxBytes)});
  }
  for (const pb::HostedModel& hosted : message.hosted()) {
    if (report.hosted.size() == core::Hosting::kMaxModels) break;
    report.hosted.push_back(
        {.name = Short(hosted.name()),
         .version = hosted.version(),
         .state = ToState(hosted.state()),
         .needs_bytes = hosted.needs_bytes(),
         .resident_bytes = hosted.resident_bytes(),
         .running = hosted.running(),
         .waiting = hosted.waiting(),
         .idle_ms = static_cast<int64_t>(std::min(hosted.idle_ms(), kMaxMs)),
         .error = Short(hosted.error()),
         .gpu = Short(hosted.gpu()),
         .gpu_bytes = std::min(hosted.gpu_bytes(), kMaxBytes),
         .quantised = hosted.has_quantised() ? Fraction(hosted.quantised()) : std::nullopt});
  }
  for (const pb::Gpu& gpu : message.gpus()) {
    if (report.gpus.size() == core::Hosting::kMaxGpus) break;
    report.gpus.push_back(
        {.name = Short(gpu.name()),
         .backend = Short(gpu.backend()),
         .description = Short(gpu.description()),
         .total_bytes = std::min(gpu.total_bytes(), kMaxBytes),
         .limit_bytes = std::min(gpu.limit_bytes(), kMaxBytes),
         .free_bytes = std::min({gpu.free_bytes(), gpu.limit_bytes(), kMaxBytes})});
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
          .shared_memory = settings.shared_memory(),
          .memory_bytes = std::min(settings.memory_bytes(), kMaxBytes),
          .type = settings.type(),
          .idle_ms = static_cast<int64_t>(std::min(settings.idle_unload_ms(), kMaxMs))};
}

void ToMessage(const core::ModelView& view, pb::LoadedModel* out) {
  out->set_name(view.row.name);
  out->set_digest(view.row.digest);
  ToMessage(view.row, out->mutable_settings());
  out->set_asleep(view.asleep);
  out->set_why(view.why);
  if (view.last_failure) {
    pb::LoadedModel::Failure* failure = out->mutable_last_failure();
    failure->set_device_name(view.last_failure->device_name);
    failure->set_error(view.last_failure->error);
    failure->set_ago_ms(static_cast<uint64_t>(view.last_failure->ago_ms));
  }
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
    hosted->set_gpu(replica.hosted.gpu);
    hosted->set_gpu_bytes(replica.hosted.gpu_bytes);
    if (replica.hosted.quantised) hosted->set_quantised(*replica.hosted.quantised);
  }
}

void ToMessage(const std::vector<core::HostView>& hosts, pb::ClusterResourcesResponse* out) {
  std::map<std::string, pb::ClusterResourcesResponse::Backend> backends;
  const auto add = [&](const std::string& backend, bool taking, uint64_t limit, uint64_t free) {
    auto& sum = backends[backend];
    sum.set_backend(backend);
    sum.set_devices(sum.devices() + 1);
    if (taking) sum.set_taking(sum.taking() + 1);
    sum.set_limit_bytes(sum.limit_bytes() + limit);
    sum.set_free_bytes(sum.free_bytes() + free);
  };
  for (const core::HostView& host : hosts) {
    const bool taking = host.closed.empty();
    add("cpu", taking, host.limit_bytes, host.free_bytes);
    for (const core::HostGpu& gpu : host.gpus) {
      add(gpu.backend, taking, gpu.limit_bytes, gpu.free_bytes);
    }
    auto* device = out->add_devices();
    device->set_device_id(host.device.value);
    device->set_name(host.name);
    device->set_limit_bytes(host.limit_bytes);
    device->set_free_bytes(host.free_bytes);
    device->set_closed(host.closed);
    device->set_receives(host.receives);
    device->set_total_bytes(host.total_bytes);
    for (const core::HostGpu& gpu : host.gpus) {
      pb::Gpu* one = device->add_gpus();
      one->set_name(gpu.name);
      one->set_backend(gpu.backend);
      one->set_description(gpu.description);
      one->set_total_bytes(gpu.total_bytes);
      one->set_limit_bytes(gpu.limit_bytes);
      one->set_free_bytes(gpu.free_bytes);
    }
  }
  for (auto& [name, sum] : backends) *out->add_backends() = std::move(sum);
}

}  // namespace corpgrid::scheduler
