#pragma once

#include <CLI/CLI.hpp>
#include <string>
#include <vector>

#include "core/placement.h"

// What a scheduler is told of how it chooses devices.
namespace corpgrid::cli {

// `--weight TERM=NUMBER`, again for more: what is left out stays as it is.
void AddWeightOption(CLI::App* command, core::Weights* weights);

// `--known-agent HASH`, again for more: adds to `programs`, as bytes, what agents may say they are
// to be attested.
void AddKnownAgentOption(CLI::App* command, std::vector<std::string>* programs);

// What is wrong with "TERM=NUMBER"; else empty, and `weights` has it.
std::string SetWeight(const std::string& text, core::Weights* weights);

}  // namespace corpgrid::cli
