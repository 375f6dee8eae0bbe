#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "absl/status/statusor.h"

namespace corpgrid::platform {

// What a device can lend, as far as this process may use it.
struct DeviceFacts {
  uint32_t cpus = 0;             // that our affinity mask allows
  uint64_t memory_bytes = 0;     // installed, or the cgroup's limit when that is less
  uint64_t disk_free_bytes = 0;  // that we may fill, where `folder` lies
  std::string hostname;
  std::string drivers;  // what computes: "AMD EPYC 9R14, glibc 2.36"
  std::string os;       // "Debian GNU/Linux 12 (bookworm), Linux 6.1.0-18-amd64"
};

// Any thread. Errors: Unavailable, naming what could not be read.
absl::StatusOr<DeviceFacts> DiscoverDevice(const std::string& folder);

// The memory limit of the cgroup v1 or v2 whose line in /proc/self/cgroup is among `cgroups`, the
// tightest on the way to the root; UINT64_MAX when there is none. `root`: where /sys/fs/cgroup is.
uint64_t CgroupMemoryLimit(const std::string& cgroups, const std::string& root);

enum class PowerSource : uint8_t { kUnknown, kMains, kBattery };

struct PowerStatus {
  PowerSource source = PowerSource::kUnknown;
  int charge_percent = -1;  // of all batteries together; -1: there is none
};

// How far the hottest sensor of the hardware monitors in `folder` is from its limit: 1 at 40
// degrees or less, 0 at the limit. Nothing when none tells both. Any thread.
std::optional<double> ReadThermalHeadroom(const std::string& folder = "/sys/class/hwmon");

// Reads the power supplies in `folder`. A machine without any is on mains. Any thread.
PowerStatus ReadPower(const std::string& folder = "/sys/class/power_supply");

}  // namespace corpgrid::platform
