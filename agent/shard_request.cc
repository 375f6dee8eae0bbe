#include "agent/shard_request.h"

#include <fmt/format.h>

namespace corpgrid::agent {

runner::ShardRequest MakeShardRequest(const job::JobSpec& spec, uint32_t shard) {
  runner::ShardRequest request;
  request.wall_ms = spec->limits.wall_ms;
  request.log_bytes = kLogTailBytes;
  request.argv.reserve(spec->command.size());
  for (const std::string& argument : spec->command) {
    request.argv.push_back(job::Expand(argument, *spec, shard));
  }
  // The first to name a variable has it: ours, the job's, then what every shard gets.
  request.env.emplace("CORPGRID_SHARD", std::to_string(shard));
  request.env.emplace("CORPGRID_SHARDS", std::to_string(spec->shards));
  request.env.emplace("CORPGRID_PROGRESS_FD", "3");
  if (shard < spec->inputs.size()) {
    request.env.emplace("CORPGRID_INPUT",
                        fmt::format("{}/{}", job::kInputFolder, spec->inputs[shard].name));
  }
  for (const auto& [name, value] : spec->env) {
    request.env.emplace(name, job::Expand(value, *spec, shard));
  }
  request.env.merge(runner::UsualEnvironment());
  return request;
}

runner::SandboxOptions MakeSandboxOptions(const job::JobSpec& spec) {
  runner::SandboxOptions options;
  options.disk_bytes = spec->limits.disk_bytes;
  options.memory_bytes = spec->resources.memory_bytes;
  options.processes = spec->limits.processes;
  options.network = spec->limits.network;
  return options;
}

}  // namespace corpgrid::agent
