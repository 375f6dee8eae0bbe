#pragma once

#include <cstdint>
#include <string_view>

#include "absl/status/statusor.h"
#include "platform/priority.h"

namespace corpgrid::resources {

// What of a device its owner lends, to jobs and models together.
struct Limits {
  uint32_t memory_percent = 100;   // of the device's memory
  double requests_per_second = 0;  // shards and answers that may begin; 0: as many as come
  uint32_t load_percent = 100;     // how busy the device may be before fewer begin
  platform::Priority priority = {};
};

// "conservative": somebody works at the device. "balanced": somebody may. "dedicated": nobody does.
// Errors: InvalidArgument with their names.
absl::StatusOr<Limits> PresetLimits(std::string_view name);

// So many hundredths of `total`, rounded down, for all totals. `percent` is at most 100.
constexpr uint64_t PercentOf(uint64_t total, uint32_t percent) {
  return total / 100 * percent + total % 100 * percent / 100;
}

}  // namespace corpgrid::resources
