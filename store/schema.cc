#include "store/schema.h"

#include <algorithm>
#include <array>
#include <iterator>

#include "base/status_macros.h"
#include "fmt/format.h"

namespace corpgrid::store {
namespace {

// BIGINT holds our unsigned numbers, bit by bit. TEXT is what the grid's own parts wrote; free text
// from devices is BYTEA, because PostgreSQL refuses a NUL in text. A job's progress is updated with
// every shard and its spec may be large, so they are two tables. The partial index makes starting
// up cost what is running, not what ever ran.
constexpr std::string_view kFirst = R"sql(
CREATE TABLE meta (
  id INTEGER PRIMARY KEY CHECK (id = 1),
  grid_id TEXT NOT NULL,
  batch BIGINT NOT NULL,
  time_ms BIGINT NOT NULL,
  next_device BIGINT NOT NULL,
  next_job BIGINT NOT NULL,
  next_attempt BIGINT NOT NULL
);
CREATE TABLE join_tokens (
  secret_hash BYTEA PRIMARY KEY,
  owner TEXT NOT NULL,
  uses_left BIGINT NOT NULL,
  idempotency_key TEXT NOT NULL
);
CREATE TABLE devices (
  id BIGINT PRIMARY KEY,
  public_key BYTEA NOT NULL,
  name TEXT NOT NULL,
  owner TEXT NOT NULL,
  site TEXT NOT NULL,
  version TEXT NOT NULL,
  cpus BIGINT NOT NULL,
  memory_bytes BIGINT NOT NULL,
  vram_bytes BIGINT NOT NULL,
  backends BIGINT NOT NULL,
  network_allowed SMALLINT NOT NULL
);
CREATE TABLE device_reputation (
  device_id BIGINT PRIMARY KEY REFERENCES devices (id),
  agreed BIGINT NOT NULL,
  disagreed BIGINT NOT NULL,
  expired BIGINT NOT NULL,
  refused BIGINT NOT NULL,
  faults BIGINT NOT NULL
);
CREATE TABLE jobs (
  id BIGINT PRIMARY KEY,
  idempotency_key TEXT NOT NULL,
  spec_hash BYTEA NOT NULL,
  bundle_hash BYTEA NOT NULL,
  bundle_bytes BIGINT NOT NULL,
  submitter_key BYTEA NOT NULL,
  signature BYTEA NOT NULL,
  submitted_wall_ms BIGINT NOT NULL,
  spec BYTEA NOT NULL
);
CREATE TABLE job_progress (
  job_id BIGINT PRIMARY KEY REFERENCES jobs (id),
  state SMALLINT NOT NULL,
  next_shard BIGINT NOT NULL,
  done BIGINT NOT NULL,
  failed BIGINT NOT NULL,
  finished_wall_ms BIGINT NOT NULL,
  error TEXT NOT NULL
);
CREATE TABLE job_shards (
  job_id BIGINT NOT NULL REFERENCES jobs (id),
  shard BIGINT NOT NULL,
  state SMALLINT NOT NULL,
  tries BIGINT NOT NULL,
  replicas BIGINT NOT NULL,
  expired BIGINT NOT NULL,
  faults BIGINT NOT NULL,
  winner BIGINT NOT NULL,
  error TEXT NOT NULL,
  checkpoint BYTEA,
  PRIMARY KEY (job_id, shard)
);
CREATE INDEX job_shards_running ON job_shards (job_id, shard) WHERE state = 0;
CREATE TABLE job_attempts (
  id BIGINT PRIMARY KEY,
  job_id BIGINT NOT NULL,
  shard BIGINT NOT NULL,
  device_id BIGINT NOT NULL REFERENCES devices (id),
  owner TEXT NOT NULL,
  lease_token BYTEA NOT NULL,
  try_number BIGINT NOT NULL,
  state SMALLINT NOT NULL,
  FOREIGN KEY (job_id, shard) REFERENCES job_shards (job_id, shard)
);
CREATE INDEX job_attempts_by_shard ON job_attempts (job_id, shard);
CREATE TABLE shard_results (
  attempt_id BIGINT PRIMARY KEY REFERENCES job_attempts (id),
  outcome SMALLINT NOT NULL,
  exit_code INTEGER NOT NULL,
  outputs BYTEA NOT NULL,
  signature BYTEA NOT NULL,
  detail BYTEA NOT NULL,
  wall_ms BIGINT NOT NULL,
  cpu_ms BIGINT NOT NULL,
  max_rss_bytes BIGINT NOT NULL,
  stdout_tail BYTEA NOT NULL,
  stderr_tail BYTEA NOT NULL
);
)sql";

// A shard may have a saved state for each party that takes part.
constexpr std::string_view kCheckpoints = R"sql(
CREATE TABLE checkpoints (
  job_id BIGINT NOT NULL,
  shard BIGINT NOT NULL,
  holder TEXT NOT NULL,
  attempt_id BIGINT NOT NULL REFERENCES job_attempts (id),
  state BYTEA NOT NULL,
  PRIMARY KEY (job_id, shard, holder),
  FOREIGN KEY (job_id, shard) REFERENCES job_shards (job_id, shard)
);
ALTER TABLE job_shards DROP COLUMN checkpoint;
)sql";

// Who may write (store/leader.h). SQLite's file lock says it better, so that there the row stays as
// it is.
constexpr std::string_view kLeader = R"sql(
CREATE TABLE leader (
  id INTEGER PRIMARY KEY CHECK (id = 1),
  token BIGINT NOT NULL,
  shown BIGINT NOT NULL,
  renewed_ms BIGINT NOT NULL,
  backend_pid BIGINT NOT NULL,
  backend_start_us BIGINT NOT NULL,
  CONSTRAINT leader_shows_its_token CHECK (shown = token)
);
INSERT INTO leader(id, token, shown, renewed_ms, backend_pid, backend_start_us)
VALUES (1, 0, 0, 0, 0, 0);
)sql";

// What a device's results were worth, as it fades (core/reputation.h). What was counted before says
// nothing of when, so all begin anew.
constexpr std::string_view kEvidence = R"sql(
ALTER TABLE device_reputation ADD COLUMN good_micro BIGINT NOT NULL DEFAULT 0;
ALTER TABLE device_reputation ADD COLUMN bad_micro BIGINT NOT NULL DEFAULT 0;
ALTER TABLE device_reputation ADD COLUMN evidence_ms BIGINT NOT NULL DEFAULT 0;
)sql";

// The entries with what proofs need of the tree; how far it goes is in the meta row, which every
// commit writes.
constexpr std::string_view kAuditLog = R"sql(
CREATE TABLE audit_log (
  entry_index BIGINT PRIMARY KEY,
  entry BYTEA NOT NULL,
  nodes BYTEA NOT NULL
);
ALTER TABLE meta ADD COLUMN audit_size BIGINT NOT NULL DEFAULT 0;
ALTER TABLE meta ADD COLUMN audit_frontier BYTEA NOT NULL DEFAULT '';
)sql";

// Jobs without a deadline, as all were, need no time of submission.
constexpr std::string_view kDrainAndDeadlines = R"sql(
ALTER TABLE devices ADD COLUMN drained SMALLINT NOT NULL DEFAULT 0;
ALTER TABLE jobs ADD COLUMN submitted_ms BIGINT NOT NULL DEFAULT 0;
)sql";

// 64 bits of 1 are no limit. What was removed stays as a row, so that a batch may remove a project
// and make it anew.
constexpr std::string_view kProjects = R"sql(
CREATE TABLE projects (
  name TEXT PRIMARY KEY,
  weight BIGINT NOT NULL,
  max_cpus BIGINT NOT NULL,
  max_memory_bytes BIGINT NOT NULL,
  max_gpus BIGINT NOT NULL,
  max_running BIGINT NOT NULL,
  max_queued BIGINT NOT NULL,
  removed SMALLINT NOT NULL
);
)sql";

// Of jobs that were submitted before, nothing is audited, so that all may be wrong.
constexpr std::string_view kTrust = R"sql(
ALTER TABLE devices ADD COLUMN trusted SMALLINT NOT NULL DEFAULT 0;
ALTER TABLE device_reputation ADD COLUMN checked BIGINT NOT NULL DEFAULT 0;
ALTER TABLE jobs ADD COLUMN audit_chance BIGINT NOT NULL DEFAULT 0;
ALTER TABLE job_progress ADD COLUMN checked BIGINT NOT NULL DEFAULT 0;
ALTER TABLE job_progress ADD COLUMN unsampled BIGINT NOT NULL DEFAULT 0;
ALTER TABLE job_progress ADD COLUMN audited BIGINT NOT NULL DEFAULT 0;
ALTER TABLE job_progress ADD COLUMN found_wrong BIGINT NOT NULL DEFAULT 0;
ALTER TABLE job_progress ADD COLUMN audits_dropped BIGINT NOT NULL DEFAULT 0;
ALTER TABLE job_progress ADD COLUMN bound_billionths BIGINT NOT NULL DEFAULT 0;
ALTER TABLE job_shards ADD COLUMN audit SMALLINT NOT NULL DEFAULT 0;
ALTER TABLE job_attempts ADD COLUMN trusted SMALLINT NOT NULL DEFAULT 0;
UPDATE job_progress SET bound_billionths = 1000000000;
)sql";

// When jobs ended, in grid time: those that had ended before count as ended now. The index finds
// what refers to attempts that are deleted. And the devices that shards were the death of.
constexpr std::string_view kRemoval = R"sql(
ALTER TABLE job_progress ADD COLUMN finished_ms BIGINT NOT NULL DEFAULT 0;
UPDATE job_progress SET finished_ms = COALESCE((SELECT time_ms FROM meta), 0) WHERE state > 1;
ALTER TABLE job_shards ADD COLUMN died_on TEXT NOT NULL DEFAULT '';
CREATE INDEX checkpoints_by_attempt ON checkpoints (attempt_id);
)sql";

// What standbys follow on PostgreSQL (store/followed.h).
constexpr std::string_view kFollowers = R"sql(
CREATE TABLE followers (
  number BIGINT PRIMARY KEY,
  batch BIGINT NOT NULL,
  until_ms BIGINT NOT NULL
);
CREATE TABLE changes (
  batch BIGINT PRIMARY KEY,
  rows BYTEA NOT NULL
);
)sql";

// What placement goes by. Devices tell it when they register again.
constexpr std::string_view kPlacement = R"sql(
ALTER TABLE devices ADD COLUMN labels TEXT NOT NULL DEFAULT '';
ALTER TABLE devices ADD COLUMN drivers TEXT NOT NULL DEFAULT '';
ALTER TABLE devices ADD COLUMN program BYTEA NOT NULL DEFAULT '';
ALTER TABLE devices ADD COLUMN attestation SMALLINT NOT NULL DEFAULT 0;
)sql";

// What agents speak; those that are known before say it when they register again. And which steps
// suit older programs (Migration::oldest_reader).
constexpr std::string_view kProtocols = R"sql(
ALTER TABLE devices ADD COLUMN protocol BIGINT NOT NULL DEFAULT 1;
CREATE TABLE schema_readers (
  version BIGINT PRIMARY KEY,
  oldest BIGINT NOT NULL
);
)sql";

// Programs from before host no models, and leave them alone.
constexpr std::string_view kModels = R"sql(
CREATE TABLE models (
  name TEXT PRIMARY KEY,
  version BIGINT NOT NULL,
  digest BYTEA NOT NULL,
  replicas BIGINT NOT NULL,
  sequences BIGINT NOT NULL,
  context BIGINT NOT NULL,
  idle_ms BIGINT NOT NULL,
  removed SMALLINT NOT NULL
);
)sql";

// Programs from before host all models with the weights that their files have.
constexpr std::string_view kModelTypes = R"sql(
ALTER TABLE models ADD COLUMN type TEXT NOT NULL DEFAULT '';
)sql";

// Programs from before give each sequence a memory of its own.
constexpr std::string_view kSharedMemory = R"sql(
ALTER TABLE models ADD COLUMN shared_memory SMALLINT NOT NULL DEFAULT 0;
)sql";

// Programs from before let models have what devices lend.
constexpr std::string_view kModelMemory = R"sql(
ALTER TABLE models ADD COLUMN memory_bytes BIGINT NOT NULL DEFAULT 0;
)sql";

constexpr std::array kMigrations = {
    Migration{.version = 1, .sql = kFirst},
    Migration{.version = 4, .sql = kCheckpoints},
    Migration{.version = 5, .sql = kLeader},
    Migration{.version = 6, .sql = kEvidence},
    Migration{.version = 7, .sql = kAuditLog},
    Migration{.version = 8, .sql = kDrainAndDeadlines},
    Migration{.version = 9, .sql = kProjects},
    Migration{.version = 11, .sql = kRemoval},
    Migration{.version = 12, .sql = kFollowers},
    Migration{.version = 13, .sql = kTrust},
    Migration{.version = 15, .sql = kPlacement},
    Migration{.version = 16, .sql = kProtocols},
    Migration{.version = 17, .sql = kModels, .oldest_reader = 16},
    Migration{.version = 18, .sql = kModelTypes, .oldest_reader = 16},
    Migration{.version = 19, .sql = kSharedMemory, .oldest_reader = 16},
    Migration{.version = 20, .sql = kModelMemory, .oldest_reader = 16}};

}  // namespace

std::span<const Migration> Migrations() { return kMigrations; }

int64_t SchemaVersion() { return kMigrations.back().version; }

absl::StatusOr<std::vector<AppliedStep>> ReadAppliedSteps(std::string_view select_tables,
                                                          const AskStore& ask) {
  bool empty = true, has_steps = false, has_readers = false;
  RETURN_IF_ERROR(ask(select_tables, [&](const Columns& columns) {
    empty = false;
    has_steps |= columns.Bytes(0) == "schema_version";
    has_readers |= columns.Bytes(0) == "schema_readers";
    return absl::OkStatus();
  }));
  if (!empty && !has_steps) {
    return absl::FailedPreconditionError(
        "it holds another program's tables; give the grid a database of its own");
  }
  std::vector<AppliedStep> applied;
  if (empty) return applied;
  RETURN_IF_ERROR(ask(has_readers ? "SELECT v.version, COALESCE(r.oldest, 0) FROM schema_version v "
                                    "LEFT JOIN schema_readers r ON r.version = v.version"
                                  : "SELECT version, 0 FROM schema_version",
                      [&](const Columns& columns) {
                        applied.push_back({columns.Int(0), columns.Int(1)});
                        return absl::OkStatus();
                      }));
  return applied;
}

absl::StatusOr<std::vector<Migration>> MissingSteps(std::span<const Migration> migrations,
                                                    std::span<const AppliedStep> applied) {
  const int64_t newest = migrations.back().version;
  for (const AppliedStep& step : applied) {
    const bool known =
        std::any_of(migrations.begin(), migrations.end(),
                    [&](const Migration& known_one) { return known_one.version == step.version; });
    const bool suits = step.oldest_reader > 0 && step.oldest_reader <= newest;
    if (known || suits) continue;
    return absl::FailedPreconditionError(
        fmt::format("the store's schema has version {}, this program knows up to {}{}: a newer "
                    "program has used the store; use that one, or restore a backup from before",
                    step.version, newest, step.version < newest ? ", but not that one" : ""));
  }
  std::vector<Migration> missing;
  std::copy_if(migrations.begin(), migrations.end(), std::back_inserter(missing),
               [&](const Migration& step) {
                 return std::none_of(applied.begin(), applied.end(), [&](const AppliedStep& done) {
                   return done.version == step.version;
                 });
               });
  return missing;
}

std::string ScriptOf(const Migration& step) {
  std::string script = fmt::format(
      "CREATE TABLE IF NOT EXISTS schema_version (version BIGINT PRIMARY KEY);\n{};\n"
      "INSERT INTO schema_version(version) VALUES({})",
      step.sql, step.version);
  if (step.oldest_reader > 0) {
    script += fmt::format(";\nINSERT INTO schema_readers(version, oldest) VALUES({}, {})",
                          step.version, step.oldest_reader);
  }
  return script;
}

}  // namespace corpgrid::store
