#include "resources/limits.h"

#include "fmt/format.h"

namespace corpgrid::resources {

using Io = platform::Priority::Io;

absl::StatusOr<Limits> PresetLimits(std::string_view name) {
  if (name == "conservative") {
    return Limits{.memory_percent = 40,
                  .requests_per_second = 4,
                  .load_percent = 50,
                  .priority = {.nice = 19, .io = Io::kIdle}};
  }
  if (name == "balanced") {
    return Limits{.memory_percent = 80, .priority = {.nice = 5, .io = Io::kLow}};
  }
  if (name == "dedicated") return Limits{.memory_percent = 95};
  return absl::InvalidArgumentError(fmt::format(
      "there is no preset \"{}\"; there are conservative, balanced and dedicated", name));
}

}  // namespace corpgrid::resources
