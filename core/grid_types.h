#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "core/bound.h"
#include "core/commands.h"
#include "core/deaths.h"
#include "core/job_queue.h"
#include "core/placement.h"
#include "core/projects.h"
#include "core/rows.h"

namespace corpgrid::core {

// What a Grid (core/grid.h) keeps in memory of devices, jobs, shards and attempts.
struct GridTypes {
  // Who counts as one for the quorum: an owner or, where a job says so, a device.
  using Party = uint64_t;
  using Parties = std::vector<Party>;  // in order

  struct Attempt {
    AttemptRow row;
    Party party = 0;
    std::optional<crypto::Hash> result_key;  // once handed in
    bool succeeded = false;
    bool counted = false;  // it is known which of the other results it agrees with
    // Where outputs are compared and not just their hashes:
    std::vector<job::Output> outputs;
    std::vector<AttemptId> close;
    int64_t expires_ms = 0;
    int64_t latest_ms = 0;  // no heartbeat extends it further
    double fraction = -1;
    bool suspect = false;  // leased when its shard had cost a device
    // It is to be saved and given back: for this job, or because its device is drained.
    JobId gives_way;
    bool drained = false;
  };

  struct Shard {
    ShardRow row;
    std::vector<Attempt> attempts;  // of the current try that still count: running or handed in
    std::map<std::string, CheckpointRow> checkpoints;  // of the current try, by holder
    std::vector<DeviceId> gave_up;  // whose fault it was, should another prove that the shard runs
  };
  using Live = std::map<uint32_t, Shard>;

  // A device that gave a job's shards up: it gets no more of this job for a while. Other jobs are
  // not held up, as the fault may be the job's doing.
  struct Pause {
    int faults_in_a_row = 0;
    int64_t until_ms = 0;
  };

  struct Job {
    Job(JobRow row, job::JobSpec spec, Project* project)
        : row(std::move(row)),
          spec(std::move(spec)),
          want(Requirements::Of(this->spec)),
          project(project) {}

    uint32_t fresh() const { return spec->shards - row.progress.next_shard; }
    // Every shard would have to be audited, so that trusted devices alone compute them.
    bool trusted_only() const { return promises() && row.audit_chance == kCertain; }
    bool promises() const { return spec->redundancy.max_error > 0; }
    // Of what was held, every shard is to be audited: a wrong one was found.
    bool checks_all() const { return promises() && row.progress.found_wrong > 0; }

    Rank rank() const { return {spec->priority, row.id}; }

    JobRow row;
    job::JobSpec spec;
    Requirements want;
    Project* project;
    Live live;
    std::set<JobId> waits_for;  // jobs that must be done first and are not yet
    // Open shards by the parties that already take part, so that a device finds one it may take
    // without a scan.
    std::map<Parties, std::set<uint32_t>> open;
    std::set<uint32_t> audits;  // shards that want a trusted device
    std::set<uint32_t> held;    // shards whose audit is AuditState::kHeld
    std::map<DeviceId, Pause> pauses;
    bool queued = false;        // it is in its project's queue
    uint32_t running = 0;       // attempts
    int64_t last_lease_ms = 0;  // or since when it is queued
  };

  struct Device {
    DeviceRow row;
    ReputationRow reputation;
    Condition condition = {};
    Party owner = 0;
    int64_t last_seen_ms = 0;
    uint32_t wants = 0;             // shards it waits for
    std::vector<AttemptId> leases;  // in order
    uint32_t suspects = 0;          // of them
    Deaths deaths;
    bool present = false;       // it counts among what the grid has
    std::string swept_project;  // up to this job of this project it looked, not minding whose
    Rank swept;                 // turn it is
    double use = 0;             // shards that it got of late, as of use_ms
    int64_t use_ms = 0;
    std::map<std::string, uint64_t> refusals;  // of its results, by reason
    uint64_t changes = 0;                      // that it made to what it says of itself
  };

  // A live attempt. Jobs and shards stay where they are for as long as they live.
  struct Place {
    Job* job = nullptr;
    Shard* shard = nullptr;
  };
  struct Found {
    Job* job = nullptr;
    Shard* shard = nullptr;
    Attempt* attempt = nullptr;
  };

  struct Ended {
    JobState state = JobState::kDone;
    uint32_t shards = 0;  // that have rows
    int64_t finished_ms = 0;
    const std::string* key = nullptr;  // in job_by_key_
  };

  struct Remembered {
    DeviceId device;
    std::string token;
    bool was_accepted = false;
    bool expired = false;
    bool died = false;  // its device said so
    ShardId shard;
  };
};

}  // namespace corpgrid::core
