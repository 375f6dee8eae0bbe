#pragma once

#include <cstdint>
#include <string>

#include "CLI/CLI.hpp"
#include "resources/limits.h"

namespace corpgrid::cli {

// What of a device is lent, as people say it.
struct LimitArguments {
  std::string preset = {};
  std::string requests_per_second = {};  // empty: the preset's
  uint32_t one_of = 1;                   // that lend of the device together
  std::string metrics = {};              // empty: not shown
  bool gpus = true;

  // Errors: InvalidArgument.
  absl::StatusOr<resources::Limits> Parse() const;
};

// `preset`: what holds when none is said.
void AddLimitOptions(CLI::App* command, const std::string& preset, LimitArguments* arguments);

}  // namespace corpgrid::cli
