#include "agent/condition.h"

#include <time.h>

#include <optional>
#include <utility>

#include "fmt/format.h"
#include "platform/device.h"

namespace corpgrid::agent {
namespace {

using corpgrid::v1::Condition;

constexpr int64_t kFreshMs = 2000;

Condition::Source SourceOf(platform::PowerSource source) {
  switch (source) {
    case platform::PowerSource::kMains:
      return Condition::MAINS;
    case platform::PowerSource::kBattery:
      return Condition::BATTERY;
    case platform::PowerSource::kUnknown:
      break;
  }
  return Condition::UNKNOWN;
}

}  // namespace

ConditionReader::ConditionReader(Sources sources, const Clock* clock)
    : sources_(std::move(sources)), clock_(clock) {}

Condition ConditionReader::Now() {
  absl::MutexLock lock(&mutex_);
  const int64_t now_ms = clock_->MonotonicMs();
  if (read_ms_ != 0 && now_ms - read_ms_ < kFreshMs) return condition_;
  read_ms_ = now_ms;
  const platform::PowerStatus power = platform::ReadPower(sources_.power_supply);
  condition_.set_source(SourceOf(power.source));
  condition_.set_charge_percent(power.charge_percent);
  condition_.clear_thermal_headroom();
  if (const std::optional<double> headroom = platform::ReadThermalHeadroom(sources_.hwmon)) {
    condition_.set_thermal_headroom(*headroom);
  }
  const time_t seconds = clock_->WallMs() / 1000;
  tm local{};
  localtime_r(&seconds, &local);
  const bool open = sources_.hours.Include(local.tm_wday, 60 * local.tm_hour + local.tm_min);
  condition_.set_closed(
      open ? "" : fmt::format("outside its owner's hours ({})", sources_.hours.text()));
  return condition_;
}

}  // namespace corpgrid::agent
