#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/ids.h"
#include "base/version.h"
#include "crypto/hash.h"
#include "job/statement.h"

// The durable state, a struct a table. Times are grid time (Command::time_ms) unless named wall.
namespace corpgrid::core {

struct MetaRow {
  std::string grid_id;
  uint64_t batch = 0;  // of the last commit: tells whether a commit of unknown outcome landed
  int64_t time_ms = 0;
  uint64_t next_device = 1;
  uint64_t next_job = 1;
  uint64_t next_attempt = 1;
  uint64_t audit_size = 0;          // entries of the audit log
  std::string audit_frontier = "";  // of its tree (audit::Frontier::Raw)
};

// An entry of the audit log; never changed.
struct AuditRow {
  uint64_t index = 0;  // from 0, without gaps
  std::string entry;   // JSON (audit/entry.h)
  std::string nodes;   // the tree's nodes that it completes, its leaf first; 32 bytes each
};

struct JoinTokenRow {
  crypto::Hash secret_hash;
  std::string owner;
  uint32_t uses_left = 0;
  std::string idempotency_key;
};

// What speaks for it that a device runs the program that it should.
enum class Attestation : uint8_t {
  kUnattested,
  kMeasured,  // its agent says that it is a program which the operator knows
};

struct DeviceRow {
  DeviceId id;
  std::string public_key;  // 32 bytes
  std::string name;
  std::string owner;
  std::string site;
  std::string version;
  uint32_t cpus = 0;
  uint64_t memory_bytes = 0;
  uint64_t vram_bytes = 0;
  uint32_t backends = 0;  // bit set of job::Backend
  bool network_allowed = false;
  bool drained = false;                  // it gets no more work
  bool trusted = false;                  // the operator answers for its results
  std::vector<std::string> labels = {};  // that its owner gave it, in order
  std::string drivers = "";              // what computes, in which version, below the programs
  std::string program =
      "";  // BLAKE3 of the agent's program as it measured itself; empty: it did not
  Attestation attestation = Attestation::kUnattested;
  uint32_t protocol = kProtocol;  // the newest version that its agent speaks (rpc/protocol.h)
};

// What a device's results were worth so far.
struct ReputationRow {
  DeviceId device;
  uint64_t agreed = 0;
  uint64_t disagreed = 0;
  uint64_t expired = 0;  // leases that ran out
  uint64_t refused = 0;  // results that were late, forged, stolen or replayed
  uint64_t faults = 0;   // attempts that the device itself gave up
  uint64_t checked = 0;  // results that a trusted device confirmed, since the last it refuted
  // Evidence beyond the prior, in millionths, as it was at evidence_ms (core/reputation.h).
  int64_t good_micro = 0;
  int64_t bad_micro = 0;
  int64_t evidence_ms = 0;
};

// Whose jobs share the grid with those of other projects. One that was removed keeps its row.
struct ProjectRow {
  static constexpr uint64_t kNoLimit = ~uint64_t{0};

  std::string name;
  uint32_t weight = 1;  // of its share against the others'
  // Of what its running attempts ask for together.
  uint64_t max_cpus = kNoLimit;
  uint64_t max_memory_bytes = kNoLimit;
  uint64_t max_gpus = kNoLimit;
  uint64_t max_running = kNoLimit;  // attempts
  uint64_t max_queued = kNoLimit;   // jobs that have not begun
  bool removed = false;

  bool operator==(const ProjectRow&) const = default;
};

// A model that the grid hosts (core/hosting.h). One that was unloaded keeps its row.
struct ModelRow {
  std::string name;
  uint64_t version = 1;     // grows when its workers have to load it anew
  std::string digest = "";  // SHA-256 of its files; 32 bytes
  uint32_t replicas = 1;    // on as many devices
  // Of each replica; 0: what the worker thinks best.
  uint32_t sequences = 0;
  uint32_t context = 0;  // tokens of each sequence; of all together where memory is shared
  bool shared_memory = false;
  uint64_t memory_bytes = 0;  // that a replica may have of its machine's; 0: what is lent
  std::string type = "";      // of its weights, "Q4_K_M"; empty: as its files have them
  int64_t idle_ms = 0;        // without a request, until it is unloaded; 0: never
  bool removed = false;

  bool operator==(const ModelRow&) const = default;
};

// kRemoved: nobody hears of it any more, and what is left of its rows goes bit by bit.
enum class JobState : uint8_t { kQueued, kRunning, kDone, kFailed, kCancelled, kRemoved };

// What changes of a job while it runs.
struct JobProgressRow {
  JobId id;
  JobState state = JobState::kQueued;
  uint32_t next_shard = 0;  // shards from here on have no row: never leased, or removed
  uint32_t done = 0;
  uint32_t failed = 0;
  int64_t finished_wall_ms = 0;
  int64_t finished_ms = 0;  // grid time
  std::string error = "";
  // Of the shards that are done:
  uint32_t checked = 0;    // a trusted device computed the result, or the same
  uint32_t unsampled = 0;  // accepted while no trusted device could have audited them
  // Of the results that were accepted and chosen by chance to be audited:
  uint32_t audited = 0;
  uint32_t found_wrong = 0;     // of these, and mended
  uint32_t audits_dropped = 0;  // of those chosen: no trusted device had time
  // Once done: at most so many of its results are wrong (95 %), in billionths of its shards.
  int64_t bound_billionths = 0;
};

// A job as it was submitted: written once. Its progress is a part of the same table and is updated
// alone, because the spec may be large.
struct JobRow {
  JobId id;
  std::string idempotency_key;
  std::string spec;  // canonical bytes
  crypto::Hash spec_hash;
  crypto::Hash bundle_hash;
  uint64_t bundle_bytes = 0;
  std::string submitter_key;  // 32 bytes
  std::string signature;
  int64_t submitted_wall_ms = 0;
  int64_t submitted_ms = 0;   // grid time
  uint64_t audit_chance = 0;  // of an accepted result, in units of 2^-32
  JobProgressRow progress;
};

enum class ShardState : uint8_t { kRunning, kDone, kFailed };

// Why a shard goes on whose result is accepted.
enum class AuditState : uint8_t {
  kNone,    // none is yet
  kWanted,  // a trusted device is to compute it too
  kHeld,    // it waits for the audits of its job's other shards
  kProbe,   // a trusted device computed it, and another one is to show whether it does it as well
};

struct ShardRow {
  ShardId id;
  ShardState state = ShardState::kRunning;
  uint32_t tries = 0;     // failures that a quorum agreed on
  uint32_t replicas = 0;  // attempts wanted for the current try; grows when results disagree
  uint32_t expired = 0;   // attempts whose lease ran out, over all tries
  uint32_t faults = 0;    // attempts that a device gave up, over all tries
  AttemptId winner;       // whose outputs are kept, once done
  std::string error;
  std::vector<DeviceId> died_on = {};  // devices that died while they ran it, one of each party
  AuditState audit = AuditState::kNone;
};

enum class AttemptState : uint8_t {
  kRunning,
  kSubmitted,
  kAgreed,
  kDisagreed,
  kExpired,
  kCancelled,
  kFaulted,
  kGivenBack,
  kUndecided,  // no quorum agreed with it or against it; its outputs are kept for the user
  kDied        // its device died while it ran, and said so
};

// Whether it may still have a vote.
inline bool IsLive(AttemptState state) {
  return state == AttemptState::kRunning || state == AttemptState::kSubmitted;
}

struct AttemptRow {
  AttemptId id;
  ShardId shard;
  DeviceId device;
  std::string owner;        // of the device, when the lease was given
  std::string lease_token;  // 15 bytes: they fit into the string itself
  uint32_t try_number = 0;
  AttemptState state = AttemptState::kRunning;
  bool trusted = false;  // its device was when the lease was given
};

// The state that an attempt of a running shard saved last. One a shard and holder; gone when the
// shard is done.
struct CheckpointRow {
  ShardId shard;
  std::string holder;  // the party that may go on from it; empty: every one may
  AttemptId attempt;   // whose scope has the bytes
  crypto::Hash state;
};

// What an attempt handed in; one an attempt, never changed.
struct ResultRow {
  AttemptId attempt;
  job::Result result;
  std::string signature;
  std::string detail;
  std::string stdout_tail;
  std::string stderr_tail;
  int64_t wall_ms = 0;
  int64_t cpu_ms = 0;
  uint64_t max_rss_bytes = 0;
};

// Shards of a job, `first` to `last` inclusive.
struct ShardRange {
  JobId job;
  uint32_t first = 0;
  uint32_t last = 0;
};

// Rows to write, a later one of the same key replacing an earlier one; then those to delete.
struct WriteBatch {
  std::optional<MetaRow> meta;
  std::vector<JoinTokenRow> join_tokens;
  std::vector<DeviceRow> devices;
  std::vector<ReputationRow> reputations;
  std::vector<ProjectRow> projects;
  std::vector<ModelRow> models;
  std::vector<JobRow> jobs;                  // new ones
  std::vector<JobProgressRow> job_progress;  // of jobs that exist, or are new in this batch
  std::vector<ShardRow> shards;
  std::vector<AttemptRow> attempts;
  std::vector<ResultRow> results;
  std::vector<CheckpointRow> checkpoints;
  std::vector<ShardId> forgotten_checkpoints;  // of these shards, all; after the rows above
  std::vector<AuditRow> audit;                 // new ones
  std::vector<ShardRange> forgotten_shards;    // with their attempts, results and checkpoints
  std::vector<JobId> forgotten_jobs;           // that have no shards left

  bool empty() const {
    return !meta && join_tokens.empty() && devices.empty() && reputations.empty() &&
           projects.empty() && models.empty() && jobs.empty() && job_progress.empty() &&
           shards.empty() && attempts.empty() && results.empty() && checkpoints.empty() &&
           forgotten_checkpoints.empty() && audit.empty() && forgotten_shards.empty() &&
           forgotten_jobs.empty();
  }
};

// What is remembered of a job that has ended.
struct FinishedJob {
  std::string idempotency_key;
  JobId id;
  JobState state = JobState::kDone;
  uint32_t next_shard = 0;
  int64_t finished_ms = 0;
};

// All that the core needs to go on: unfinished jobs with their running shards, those shards'
// attempts and results, every device and every project. Of finished jobs only the key and how and
// when they ended, of the audit log what `meta` says.
struct Snapshot {
  MetaRow meta;
  std::vector<JoinTokenRow> join_tokens;
  std::vector<DeviceRow> devices;
  std::vector<ReputationRow> reputations;
  std::vector<ProjectRow> projects;
  std::vector<ModelRow> models;
  std::vector<JobRow> jobs;
  std::vector<ShardRow> shards;
  std::vector<AttemptRow> attempts;
  std::vector<ResultRow> results;
  std::vector<CheckpointRow> checkpoints;
  std::vector<FinishedJob> finished;
};

}  // namespace corpgrid::core
