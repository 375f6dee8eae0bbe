#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/ids.h"
#include "crypto/hash.h"

namespace corpgrid::job {

// How an attempt ended. All but the last two speak of the job itself and take part in the quorum.
enum class Outcome : uint8_t {
  kExited = 1,       // the command ended by itself: see exit_code
  kSignaled = 2,     // a signal ended it: see exit_code for its number
  kWallLimit = 3,    // it ran longer than limits.wall
  kMemoryLimit = 4,  // it used more than resources.memory
  kOutputLimit = 5,  // its outputs are larger than limits.output, or its files than limits.disk
  kOutputMissing =
      6,            // it ended well without one of its outputs, or with one that is no regular file
  kNotStarted = 7,  // the command could not be executed: see exit_code for errno
  kDeviceFault = 8,  // the device failed (its disk, its sandbox); says nothing about the job
  kGivenBack = 9,    // the device went on battery or was told to stop; nobody's fault
};

std::string_view ToText(Outcome outcome);

struct Output {
  std::string name;
  crypto::Hash hash;
  uint64_t size_bytes = 0;

  bool operator==(const Output&) const = default;
};

// What an attempt produced. Two results agree when their Key()s are equal.
struct Result {
  Outcome outcome = Outcome::kDeviceFault;
  int32_t exit_code = 0;
  std::vector<Output> outputs;  // in the spec's order; empty unless the command ended with status 0

  bool succeeded() const { return outcome == Outcome::kExited && exit_code == 0; }
  // BLAKE3 over outcome, exit code and outputs.
  crypto::Hash Key() const;
  bool operator==(const Result&) const = default;
};

// What a submitter signs: this bundle with this canonical spec, for this grid.
std::string JobStatement(std::string_view grid_id, const crypto::Hash& bundle,
                         const crypto::Hash& spec);

// What a device signs: this attempt, held under this lease, had this result. A statement fits one
// attempt only, so that neither replaying it nor copying another device's outputs under it
// verifies.
struct ResultStatement {
  std::string_view grid_id;
  DeviceId device;
  ShardId shard;
  AttemptId attempt;
  std::string_view lease_token;
  crypto::Hash bundle;
  crypto::Hash spec;
  crypto::Hash result_key;

  std::string Encode() const;
};

}  // namespace corpgrid::job
