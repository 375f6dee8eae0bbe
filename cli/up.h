#pragma once

#include <cstdint>
#include <string>

#include "cli/output.h"

namespace corpgrid::cli {

inline constexpr char kKeepJobs[] = "30d";
inline constexpr char kNoApi[] = "none";

struct UpOptions {
  std::string program;  // this program, to be started as scheduler and agents
  std::string listen = "127.0.0.1:0";
  std::string store;                   // as the scheduler's --store; empty: its default
  std::string keep_jobs = kKeepJobs;   // as the scheduler's --keep-jobs
  std::string api = "127.0.0.1:8000";  // where the gateway answers; kNoApi: there is none
  std::string preset = "balanced";     // as the agents' --preset
  int agents = 3;
  int slots = 0;  // of each agent; 0: the processors shared out among them
};

// A whole grid on this machine until Ctrl-C or SIGTERM: a scheduler, agents and a gateway, each a
// process of its own that is started again when it dies, all in one data folder. Returns the exit
// code.
int RunUp(const Common& common, const UpOptions& options);

}  // namespace corpgrid::cli
