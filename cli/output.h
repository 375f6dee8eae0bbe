#pragma once

#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "cli/json.h"

namespace corpgrid::cli {

// What scripts can rely on.
enum ExitCode : int {
  kExitDone = 0,
  kExitFailed = 1,
  kExitUsage = 2,
  kExitUnreachable = 3,
  kExitInterrupted = 130,  // Ctrl-C, as shells have it
};

ExitCode ExitCodeOf(const absl::Status& status);

// What every command takes.
struct Common {
  std::string data_folder;
  bool data_given = false;  // by --data; else data_folder is the default
  bool json = false;
};

// Tells the person on stderr, and with --json the script on stdout, what went wrong. Returns the
// exit code.
int Fail(const Common& common, const absl::Status& status);

// To stdout, as it is.
void Print(std::string_view text);
void PrintJson(const Json& json);

// A line to stderr.
void Say(std::string_view text);

}  // namespace corpgrid::cli
