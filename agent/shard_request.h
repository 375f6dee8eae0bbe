#pragma once

#include <cstdint>
#include <string>

#include "job/spec.h"
#include "runner/session.h"

namespace corpgrid::agent {

// Of stdout and of stderr each, the end of it: what is kept with a result.
inline constexpr size_t kLogTailBytes = 64 << 10;

// What to execute for shard `shard` of a job: placeholders replaced, and the environment that every
// shard gets (docs/job-spec.md). Any thread.
runner::ShardRequest MakeShardRequest(const job::JobSpec& spec, uint32_t shard);

// The sandbox that a job's shards run in, but for the folders that are the slot's.
runner::SandboxOptions MakeSandboxOptions(const job::JobSpec& spec);

}  // namespace corpgrid::agent
