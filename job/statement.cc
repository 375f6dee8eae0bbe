#include "job/statement.h"

#include "crypto/encoding.h"

namespace corpgrid::job {

std::string_view ToText(Outcome outcome) {
  switch (outcome) {
    case Outcome::kExited:
      return "exited";
    case Outcome::kSignaled:
      return "killed by a signal";
    case Outcome::kWallLimit:
      return "over limits.wall";
    case Outcome::kMemoryLimit:
      return "over resources.memory";
    case Outcome::kOutputLimit:
      return "over limits.output or limits.disk";
    case Outcome::kOutputMissing:
      return "output missing";
    case Outcome::kNotStarted:
      return "command not started";
    case Outcome::kDeviceFault:
      return "device fault";
    case Outcome::kGivenBack:
      return "given back";
  }
  return "unknown outcome";
}

crypto::Hash Result::Key() const {
  crypto::Encoder encoder("corpgrid result key", 1);
  encoder.Add(static_cast<uint64_t>(outcome)).AddSigned(exit_code);
  encoder.Add(uint64_t{outputs.size()});
  for (const Output& output : outputs) {
    encoder.Add(output.name).Add(output.hash.Raw()).Add(output.size_bytes);
  }
  return crypto::Blake3(encoder.bytes());
}

std::string JobStatement(std::string_view grid_id, const crypto::Hash& bundle,
                         const crypto::Hash& spec) {
  return crypto::Encoder("corpgrid job", 1).Add(grid_id).Add(bundle.Raw()).Add(spec.Raw()).bytes();
}

std::string ResultStatement::Encode() const {
  return crypto::Encoder("corpgrid result", 1)
      .Add(grid_id)
      .Add(device.value)
      .Add(shard.job.value)
      .Add(uint64_t{shard.index})
      .Add(attempt.value)
      .Add(lease_token)
      .Add(bundle.Raw())
      .Add(spec.Raw())
      .Add(result_key.Raw())
      .bytes();
}

}  // namespace corpgrid::job
