#include <algorithm>
#include <charconv>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>

#include "platform/device.h"
#include "platform/file.h"

namespace corpgrid::platform {
namespace {

constexpr int64_t kCool = 40'000;  // thousandths of a degree, as the kernel counts
constexpr int64_t kHottest = 150'000;

std::optional<int64_t> ReadTemperature(const std::string& path) {
  const absl::StatusOr<std::string> text = ReadSmallFile(path);
  int64_t value = 0;
  if (!text.ok()) return std::nullopt;
  const auto [end, error] = std::from_chars(text->data(), text->data() + text->size(), value);
  return error == std::errc() ? std::optional(value) : std::nullopt;
}

}  // namespace

std::optional<double> ReadThermalHeadroom(const std::string& folder) {
  namespace fs = std::filesystem;
  constexpr std::string_view kInput = "_input";
  std::optional<double> least;
  std::error_code error;
  for (fs::directory_iterator chip(folder, error), end; !error && chip != end;
       chip.increment(error)) {
    std::error_code gone;  // a chip that was there a moment ago
    for (fs::directory_iterator file(chip->path(), gone); !gone && file != end;
         file.increment(gone)) {
      const std::string path = file->path().native(), name = file->path().filename().native();
      if (!name.starts_with("temp") || !name.ends_with(kInput)) continue;
      const std::string sensor = path.substr(0, path.size() - kInput.size());
      const std::optional<int64_t> now = ReadTemperature(path);
      std::optional<int64_t> limit = ReadTemperature(sensor + "_crit");
      if (!limit) limit = ReadTemperature(sensor + "_max");
      // Some drivers show a limit that is none.
      if (!now || !limit || *limit <= kCool || *limit > kHottest) continue;
      const double headroom = std::clamp(
          static_cast<double>(*limit - *now) / static_cast<double>(*limit - kCool), 0.0, 1.0);
      least = std::min(least.value_or(1), headroom);
    }
  }
  return least;
}

}  // namespace corpgrid::platform
