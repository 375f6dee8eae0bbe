#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "agent/files.h"
#include "job/statement.h"

namespace corpgrid::agent {

// One output file, taken out of the sandbox: its bytes are in `data` or, when large, in `file`.
struct CollectedOutput {
  job::Output output;
  std::string data = {};
  UniqueFd file = {};
  bool is_large = false;

  bool in_memory() const { return !is_large; }
};

struct Collection {
  job::Outcome outcome = job::Outcome::kExited;  // or kOutputMissing, kOutputLimit
  std::string detail;                            // for people: which output, and why
  std::vector<CollectedOutput> outputs;          // in the order of the names; empty but for kExited
};

// Outputs up to this size stay in memory.
inline constexpr uint64_t kMaxInMemoryBytes = 64 << 10;

// Takes the files `names` (relative paths) out of the work folder `work_fd`, whose processes must
// all be dead. Never leaves the folder and follows no links; anything but regular files counts as
// missing. Large ones are copied to files, `spool_path`0 and so on, which whoever asked deletes;
// hashed is what was copied. Errors are this device's own (ResourceExhausted for a full disk). Any
// thread.
absl::StatusOr<Collection> CollectOutputs(int work_fd, std::span<const std::string> names,
                                          uint64_t limit_bytes, const std::string& spool_path);

}  // namespace corpgrid::agent
