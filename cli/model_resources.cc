#include "base/status_macros.h"
#include "base/text.h"
#include "cli/client.h"
#include "cli/commands.h"
#include "cli/models.h"
#include "cli/table.h"
#include "corpgrid/v1/hosting.pb.h"

namespace corpgrid::cli {
namespace {

namespace v1 = corpgrid::v1;

Json GpusOf(const v1::ClusterResourcesResponse::Device& device) {
  Json gpus = Json::array();
  for (const v1::Gpu& gpu : device.gpus()) {
    gpus.push_back({{"name", gpu.name()},
                    {"backend", gpu.backend()},
                    {"description", gpu.description()},
                    {"total_bytes", gpu.total_bytes()},
                    {"limit_bytes", gpu.limit_bytes()},
                    {"free_bytes", gpu.free_bytes()}});
  }
  return gpus;
}

// What each device has, below the sums.
Table DeviceTable(const v1::ClusterResourcesResponse& resources) {
  Table table(
      {{"DEVICE"}, {"COMPUTES"}, {"TOTAL", true}, {"FOR MODELS", true}, {"FREE", true}, {""}});
  const auto bytes = [](uint64_t count) { return count == 0 ? "" : FormatBytes(count); };
  for (const auto& device : resources.devices()) {
    table.AddRow({device.name(), "cpu", bytes(device.total_bytes()),
                  FormatBytes(device.limit_bytes()), FormatBytes(device.free_bytes()),
                  device.closed()});
    for (const v1::Gpu& gpu : device.gpus()) {
      table.AddRow({"", gpu.name(), bytes(gpu.total_bytes()), FormatBytes(gpu.limit_bytes()),
                    FormatBytes(gpu.free_bytes()), gpu.description()});
    }
  }
  return table;
}

absl::Status ShowResources(const Common& common) {
  ASSIGN_OR_RETURN(const auto client, Client::Open(common.data_folder));
  ASSIGN_OR_RETURN(const v1::ClusterResourcesResponse resources, client->ClusterResources());
  Json backends = Json::array();
  Table table({{"BACKEND"},
               {"DEVICES", true},
               {"TAKING MODELS", true},
               {"MEMORY FOR MODELS", true},
               {"FREE", true}});
  for (const auto& backend : resources.backends()) {
    backends.push_back({{"backend", backend.backend()},
                        {"devices", backend.devices()},
                        {"taking", backend.taking()},
                        {"limit_bytes", backend.limit_bytes()},
                        {"free_bytes", backend.free_bytes()}});
    table.AddRow({backend.backend(), std::to_string(backend.devices()),
                  std::to_string(backend.taking()), FormatBytes(backend.limit_bytes()),
                  FormatBytes(backend.free_bytes())});
  }
  if (common.json) {
    Json devices = Json::array();
    for (const auto& device : resources.devices()) {
      devices.push_back({{"device_id", device.device_id()},
                         {"device", device.name()},
                         {"limit_bytes", device.limit_bytes()},
                         {"free_bytes", device.free_bytes()},
                         {"closed", device.closed()},
                         {"receives", device.receives()},
                         {"total_bytes", device.total_bytes()},
                         {"gpus", GpusOf(device)}});
    }
    PrintJson(Json{{"backends", std::move(backends)}, {"devices", std::move(devices)}});
  } else if (table.empty()) {
    Say("no device that is there hosts models");
  } else {
    Print(table.ToText() + "\n" + DeviceTable(resources).ToText());
  }
  return absl::OkStatus();
}

}  // namespace

void AddModelResourcesCommand(CommandTree& tree, CLI::App* group) {
  AddCommand(
      tree, group, "resources", "What devices have for models, and what computes them",
      "  corpgrid model resources\n"
      "  corpgrid model resources --json | jq '.devices[].gpus'\n"
      "\"cpu\" are the machines' processors, \"vulkan\" and others their GPUs. TOTAL is what "
      "a device has, FOR MODELS what its owner lends.",
      [&common = tree.common] {
        return ModelExit(common, ShowResources(common), /*asks_grid=*/true);
      });
}

}  // namespace corpgrid::cli
