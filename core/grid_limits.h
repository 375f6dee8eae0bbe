#pragma once

#include <cstddef>
#include <cstdint>

#include "core/placement.h"

namespace corpgrid::core {

struct GridConfig {
  int64_t heartbeat_ms = 2000;
  int grace_heartbeats = 4;
  Weights weights = {};
  // Whether shards on devices of little reputation get more replicas than their job asks for.
  bool extra_replicas = true;
  // How many of the accepted results a trusted device computes again, chosen by chance; of a large
  // job about kAuditsAJob.
  double audit_rate = 0.05;

  // Jobs are removed when they ended so long ago; 0: never. Grid time, which stands while no
  // scheduler runs.
  int64_t keep_jobs_ms = 0;

  // FEATURES A5: heartbeat period x (grace missed + 1).
  int64_t lease_ttl_ms() const { return heartbeat_ms * (grace_heartbeats + 1); }
};

// What the core keeps to, whatever it is configured to do.
struct GridLimits {
  // Bounds that keep a bad shard or device from using the grid up.
  static constexpr uint32_t kMaxExpired = 32;          // leases of one shard that may run out
  static constexpr uint32_t kMaxFaults = 8;            // device faults of one shard
  static constexpr uint32_t kMaxPollShards = 256;      // leases in one answer
  static constexpr size_t kMaxLeasesPerDevice = 1024;  // over all polls
  // That a lease may wait before its wall limit counts; the second for devices of no standing.
  static constexpr int64_t kMaxQueuedMs = 600'000;
  static constexpr int64_t kMaxQueuedUnprovenMs = 120'000;
  static constexpr size_t kMaxRemembered = 1 << 16;    // ended attempts whose verdict is repeated
  static constexpr int64_t kFaultPauseMs = 200;        // doubles with each fault in a row, up to
  static constexpr int64_t kMaxFaultPauseMs = 30'000;  // this
  static constexpr int64_t kRetryDelayMs = 500;        // doubles with each try of a shard, up to
  static constexpr int64_t kMaxRetryDelayMs = 60'000;  // this
  // How long a job waits for a device before it takes one from a job of lower priority.
  static constexpr int64_t kPatienceMs = 5'000;
  static constexpr int64_t kPreemptEveryMs = 1'000;
  static constexpr uint32_t kQuorumOfPromises = 2;  // of a job that asks for a bound
  static constexpr uint64_t kAuditsAJob = 200;
  static constexpr int64_t kAuditPatienceMs = 60'000;  // that an audit may wait to be begun
  static constexpr size_t kMaxTrusted = 256;           // devices
  static constexpr size_t kMaxReleased = 256;          // held shards a tick
  // How old may be what the grid has together, by which the projects' shares are counted.
  static constexpr int64_t kTotalsEveryMs = 1'000;
  static constexpr uint32_t kMaxWeight = 1'000;
  static constexpr size_t kMaxProjects = 10'000;
  // Bounds that keep one decision cheap, whatever is queued and whoever waits.
  static constexpr size_t kMaxCandidates = 16;        // devices or shards that are scored
  static constexpr size_t kMaxScanned = 1024;         // that are looked at to find them
  static constexpr int64_t kUseHalfLifeMs = 600'000;  // what counts as recent use of a device
  // Of what a device or a stranger can do again and again, the audit log tells so many of each
  // kind; beyond it, every doubling. Counted since Load.
  static constexpr uint64_t kRepeatsLogged = 64;
  // A shard that so many parties' devices died of fails.
  static constexpr size_t kMaxDeaths = 3;
  // What a Tick removes at most, so that no commit gets long by it.
  static constexpr size_t kJobsRemovedATick = 64;
  static constexpr uint32_t kShardsRemovedATick = 256;
};

}  // namespace corpgrid::core
