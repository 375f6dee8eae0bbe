#pragma once

#include <string>

#include "core/rows.h"
#include "fmt/format.h"

namespace corpgrid::store {

// All columns of a row, to be compared: the rows have no operator==.
inline std::string Show(const core::DeviceRow& r) {
  return fmt::format("{} {} {} {} {} {} {} {} {} {} {} {} {} {}", r.id.value, r.public_key, r.name,
                     r.owner, r.site, r.version, r.cpus, r.memory_bytes, r.vram_bytes, r.backends,
                     r.network_allowed, r.drained, r.trusted, r.protocol);
}
inline std::string Show(const core::ReputationRow& r) {
  return fmt::format("{} {} {} {} {} {} {} {} {}", r.device.value, r.agreed, r.disagreed, r.expired,
                     r.refused, r.faults, r.good_micro, r.bad_micro, r.evidence_ms);
}
inline std::string Show(const core::JoinTokenRow& r) {
  return fmt::format("{} {} {} {}", r.secret_hash.Hex(), r.owner, r.uses_left, r.idempotency_key);
}
inline std::string Show(const core::JobRow& r) {
  const core::JobProgressRow& p = r.progress;
  return fmt::format("{} {} {} {} {} {} {} {} {} {} | {} {} {} {} {} {} {} {}", r.id.value,
                     r.idempotency_key, r.spec, r.spec_hash.Hex(), r.bundle_hash.Hex(),
                     r.bundle_bytes, r.submitter_key, r.signature, r.submitted_wall_ms,
                     r.submitted_ms, p.id.value, static_cast<int>(p.state), p.next_shard, p.done,
                     p.failed, p.finished_wall_ms, p.finished_ms, p.error);
}
inline std::string Show(const core::ShardRow& r) {
  std::string died_on;
  for (const DeviceId id : r.died_on) died_on += fmt::format("{} ", id.value);
  return fmt::format("{}/{} {} {} {} {} {} {} {} {}", r.id.job.value, r.id.index,
                     static_cast<int>(r.state), r.tries, r.replicas, r.expired, r.faults,
                     r.winner.value, r.error, died_on);
}
inline std::string Show(const core::CheckpointRow& r) {
  return fmt::format("{}/{} {} {} {}", r.shard.job.value, r.shard.index, r.holder, r.attempt.value,
                     r.state.Hex());
}
inline std::string Show(const core::AttemptRow& r) {
  return fmt::format("{} {}/{} {} {} {} {} {}", r.id.value, r.shard.job.value, r.shard.index,
                     r.device.value, r.owner, r.lease_token, r.try_number,
                     static_cast<int>(r.state));
}
inline std::string Show(const core::ResultRow& r) {
  std::string outputs;
  for (const job::Output& o : r.result.outputs) {
    outputs += fmt::format("{} {} {};", o.name, o.hash.Hex(), o.size_bytes);
  }
  return fmt::format("{} {} {} {} {} {} {} {} {} {} {}", r.attempt.value,
                     static_cast<int>(r.result.outcome), r.result.exit_code, outputs, r.signature,
                     r.detail, r.stdout_tail, r.stderr_tail, r.wall_ms, r.cpu_ms, r.max_rss_bytes);
}

}  // namespace corpgrid::store
