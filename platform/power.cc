#include <algorithm>
#include <charconv>
#include <filesystem>
#include <string>
#include <system_error>

#include "platform/device.h"
#include "platform/file.h"

namespace corpgrid::platform {

PowerStatus ReadPower(const std::string& folder) {
  namespace fs = std::filesystem;
  bool mains_online = false, discharging = false;
  int batteries = 0, charge_sum = 0;

  std::error_code error;
  for (fs::directory_iterator it(folder, error), end; !error && it != end; it.increment(error)) {
    auto read = [&](const char* name) {
      return ReadSmallFile(it->path() / name).value_or(std::string());
    };
    std::string type = read("type");
    if (type == "Mains" || type == "USB") {
      mains_online |= read("online") == "1";
    } else if (type == "Battery" && read("scope") != "Device") {  // that is a mouse's or a pen's
      std::string capacity = read("capacity");
      int percent = 0;
      std::from_chars(capacity.data(), capacity.data() + capacity.size(), percent);
      charge_sum += std::clamp(percent, 0, 100);
      ++batteries;
      discharging |= read("status") == "Discharging";
    }
  }

  PowerStatus power;
  if (batteries > 0) power.charge_percent = charge_sum / batteries;
  // A charger that cannot keep up leaves the battery discharging: that is still mains. Firmware
  // without a mains entry shows only by its battery where the power comes from.
  power.source = mains_online || !discharging ? PowerSource::kMains : PowerSource::kBattery;
  return power;
}

}  // namespace corpgrid::platform
