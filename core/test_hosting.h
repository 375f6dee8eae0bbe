#pragma once

#include <gtest/gtest.h>

#include <string>
#include <utility>
#include <vector>

#include "core/test_grid.h"

namespace corpgrid::core {

inline constexpr uint64_t kGiB = uint64_t{1} << 30;

class HostingTest : public TestGrid, public ::testing::Test {
 protected:
  static std::string Digest(char fill) { return std::string(32, fill); }

  // A device with room for `free` bytes that has the model "chat" of 2 GiB.
  HostReport Holder(DeviceId device, uint64_t free = 8 * kGiB, char digest = 'a') {
    return {.device = device,
            .limit_bytes = 8 * kGiB,
            .free_bytes = free,
            .held = {{.name = "chat", .digest = Digest(digest), .bytes = 2 * kGiB}},
            .hosted = {},
            .gpus = {},
            .shares_memory = true,
            .limits_memory = true};
  }

  // The names of the models that the device is to host.
  std::vector<std::string> Report(const HostReport& report, Condition condition = {}) {
    std::vector<std::string> names;
    for (const ModelRow& row : Orders(report, std::move(condition)).models) {
      names.push_back(row.name);
    }
    return names;
  }

  HostOrders Orders(const HostReport& report, Condition condition = {}) {
    return std::get<HostOrders>(Apply(ReportHost{report, std::move(condition)}).reply);
  }

  absl::Status Load(ModelRow row) {
    return std::get<absl::Status>(Apply(LoadModel{std::move(row)}).reply);
  }

  ModelView View(const std::string& name = "chat") {
    const Effects effects = Apply(ViewHosting{});
    for (const ModelView& model : std::get<HostingView>(effects.reply).models) {
      if (model.row.name == name) return model;
    }
    return {};
  }

  std::vector<DeviceId> Where() {
    std::vector<DeviceId> devices;
    for (const ReplicaView& replica : View().replicas) devices.push_back(replica.device);
    return devices;
  }

  static HostReport Hosting(HostReport report, ReplicaState state, std::string error = "",
                            uint64_t version = 1) {
    report.hosted = {
        {.name = "chat", .version = version, .state = state, .error = std::move(error)}};
    return report;
  }

  void Pass(int64_t ms) {
    now_ms_ += ms;
    Apply(Tick{});
  }
};

}  // namespace corpgrid::core
