#pragma once

#include <string>
#include <vector>

namespace corpgrid::cli {

// Runs one command line (`arguments[0]` is the program) and returns its exit code (cli/output.h).
int Run(const std::vector<std::string>& arguments);

}  // namespace corpgrid::cli
