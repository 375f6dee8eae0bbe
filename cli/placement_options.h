#pragma once

#include <CLI/CLI.hpp>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "core/placement.h"

// What a scheduler is told of how it chooses devices.
namespace corpgrid::cli {

// `--weight TERM=NUMBER`, again for more: what is left out stays as it is.
void AddWeightOption(CLI::App* command, core::Weights* weights);

// `--known-agent HASH`, again for more: programs that agents may say they are to be attested.
void AddKnownAgentOption(CLI::App* command, std::vector<std::string>* hashes);

// `hashes` as raw bytes, and the hash of this program with `runner` (empty: without), of which a
// grid's own agents are. Errors: those of rpc::Measure.
absl::StatusOr<std::vector<std::string>> KnownPrograms(const std::vector<std::string>& hashes,
                                                       const std::string& runner);

// What is wrong with "TERM=NUMBER"; else empty, and `weights` has it.
std::string SetWeight(const std::string& text, core::Weights* weights);

}  // namespace corpgrid::cli
