#pragma once

#include <string>

#include "CLI/CLI.hpp"
#include "absl/status/status.h"
#include "agent/agent.h"

namespace corpgrid::cli {

// Which models an agent offers, as people say it.
struct OfferedModels {
  std::string folder = {};
  std::string memory = {};  // empty: the agent's default
  std::string disk = {};    // empty: a tenth stays free
};

void AddModelOptions(CLI::App* agent, OfferedModels* arguments);

// Sets what `options` has about models: those of `arguments.folder`, and those that are sent to it,
// which are in its data folder. Without the program that hosts models there is nothing to offer.
// Errors: InvalidArgument.
absl::Status OfferModels(const OfferedModels& arguments, bool gpus, agent::Options* options);

}  // namespace corpgrid::cli
