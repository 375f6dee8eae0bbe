#include "base/status_macros.h"
#include "crypto/encoding.h"
#include "store/rows.h"

namespace corpgrid::store {
namespace {

using sqlite::Blob;
using sqlite::Database;

std::string EncodeOutputs(const std::vector<job::Output>& outputs) {
  if (outputs.empty()) return "";
  crypto::Encoder encoder("corpgrid outputs", 1);
  encoder.Add(uint64_t{outputs.size()});
  for (const job::Output& output : outputs) {
    encoder.Add(output.name).Add(output.hash.Raw()).Add(output.size_bytes);
  }
  return encoder.bytes();
}

template <typename Enum>
int64_t Number(Enum value) {
  return static_cast<int64_t>(value);
}

}  // namespace

absl::Status Write(Database& db, const core::MetaRow& row) {
  return db.Run(
      "UPDATE meta SET batch = ?, time_ms = ?, next_device = ?, next_job = ?, next_attempt = ? "
      "WHERE id = 1",
      row.batch, row.time_ms, row.next_device, row.next_job, row.next_attempt);
}

absl::Status Write(Database& db, const core::JoinTokenRow& row) {
  return db.Run(
      "INSERT INTO join_tokens(secret_hash, owner, uses_left, idempotency_key) "
      "VALUES(?, ?, ?, ?) ON CONFLICT(secret_hash) DO UPDATE SET owner = excluded.owner, "
      "uses_left = excluded.uses_left, idempotency_key = excluded.idempotency_key",
      Blob{row.secret_hash.Raw()}, row.owner, row.uses_left, row.idempotency_key);
}

absl::Status Write(Database& db, const core::DeviceRow& row) {
  return db.Run(
      "INSERT INTO devices(id, public_key, name, owner, site, version, cpus, memory_bytes, "
      "vram_bytes, backends, network_allowed) VALUES(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) "
      "ON CONFLICT(id) DO UPDATE SET public_key = excluded.public_key, name = excluded.name, "
      "owner = excluded.owner, site = excluded.site, version = excluded.version, "
      "cpus = excluded.cpus, memory_bytes = excluded.memory_bytes, "
      "vram_bytes = excluded.vram_bytes, backends = excluded.backends, "
      "network_allowed = excluded.network_allowed",
      row.id.value, Blob{row.public_key}, row.name, row.owner, row.site, row.version, row.cpus,
      row.memory_bytes, row.vram_bytes, row.backends, row.network_allowed);
}

absl::Status Write(Database& db, const core::ReputationRow& row) {
  return db.Run(
      "INSERT INTO device_reputation(device_id, agreed, disagreed, expired, refused, faults) "
      "VALUES(?, ?, ?, ?, ?, ?) ON CONFLICT(device_id) DO UPDATE SET agreed = excluded.agreed, "
      "disagreed = excluded.disagreed, expired = excluded.expired, refused = excluded.refused, "
      "faults = excluded.faults",
      row.device.value, row.agreed, row.disagreed, row.expired, row.refused, row.faults);
}

absl::Status Write(Database& db, const core::JobRow& row) {
  RETURN_IF_ERROR(
      db.Run("INSERT INTO jobs(id, idempotency_key, spec_hash, bundle_hash, bundle_bytes, "
             "submitter_key, signature, submitted_wall_ms, spec) "
             "VALUES(?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT(id) DO UPDATE SET "
             "idempotency_key = excluded.idempotency_key, spec_hash = excluded.spec_hash, "
             "bundle_hash = excluded.bundle_hash, bundle_bytes = excluded.bundle_bytes, "
             "submitter_key = excluded.submitter_key, signature = excluded.signature, "
             "submitted_wall_ms = excluded.submitted_wall_ms, spec = excluded.spec",
             row.id.value, row.idempotency_key, Blob{row.spec_hash.Raw()},
             Blob{row.bundle_hash.Raw()}, row.bundle_bytes, Blob{row.submitter_key},
             Blob{row.signature}, row.submitted_wall_ms, Blob{row.spec}));
  core::JobProgressRow progress = row.progress;
  progress.id = row.id;
  return Write(db, progress);
}

absl::Status Write(Database& db, const core::JobProgressRow& row) {
  return db.Run(
      "INSERT INTO job_progress(job_id, state, next_shard, done, failed, finished_wall_ms, error) "
      "VALUES(?, ?, ?, ?, ?, ?, ?) ON CONFLICT(job_id) DO UPDATE SET state = excluded.state, "
      "next_shard = excluded.next_shard, done = excluded.done, failed = excluded.failed, "
      "finished_wall_ms = excluded.finished_wall_ms, error = excluded.error",
      row.id.value, Number(row.state), row.next_shard, row.done, row.failed, row.finished_wall_ms,
      row.error);
}

absl::Status Write(Database& db, const core::ShardRow& row) {
  return db.Run(
      "INSERT INTO job_shards(job_id, shard, state, tries, replicas, expired, faults, winner, "
      "error) VALUES(?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT(job_id, shard) "
      "DO UPDATE SET state = excluded.state, tries = excluded.tries, "
      "replicas = excluded.replicas, expired = excluded.expired, faults = excluded.faults, "
      "winner = excluded.winner, error = excluded.error",
      row.id.job.value, row.id.index, Number(row.state), row.tries, row.replicas, row.expired,
      row.faults, row.winner.value, row.error);
}

absl::Status Write(Database& db, const core::CheckpointRow& row) {
  return db.Run(
      "INSERT INTO checkpoints(job_id, shard, holder, attempt_id, state) VALUES(?, ?, ?, ?, ?) "
      "ON CONFLICT(job_id, shard, holder) DO UPDATE SET attempt_id = excluded.attempt_id, "
      "state = excluded.state",
      row.shard.job.value, row.shard.index, row.holder, row.attempt.value, Blob{row.state.Raw()});
}

absl::Status Write(Database& db, const core::AttemptRow& row) {
  return db.Run(
      "INSERT INTO job_attempts(id, job_id, shard, device_id, owner, lease_token, try_number, "
      "state) VALUES(?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT(id) DO UPDATE SET "
      "job_id = excluded.job_id, shard = excluded.shard, device_id = excluded.device_id, "
      "owner = excluded.owner, lease_token = excluded.lease_token, "
      "try_number = excluded.try_number, state = excluded.state",
      row.id.value, row.shard.job.value, row.shard.index, row.device.value, row.owner,
      Blob{row.lease_token}, row.try_number, Number(row.state));
}

absl::Status Write(Database& db, const core::ResultRow& row) {
  const std::string outputs = EncodeOutputs(row.result.outputs);
  return db.Run(
      "INSERT INTO shard_results(attempt_id, outcome, exit_code, outputs, signature, detail, "
      "wall_ms, cpu_ms, max_rss_bytes, stdout_tail, stderr_tail) "
      "VALUES(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT(attempt_id) DO UPDATE SET "
      "outcome = excluded.outcome, exit_code = excluded.exit_code, outputs = excluded.outputs, "
      "signature = excluded.signature, detail = excluded.detail, wall_ms = excluded.wall_ms, "
      "cpu_ms = excluded.cpu_ms, max_rss_bytes = excluded.max_rss_bytes, "
      "stdout_tail = excluded.stdout_tail, stderr_tail = excluded.stderr_tail",
      row.attempt.value, Number(row.result.outcome), row.result.exit_code, Blob{outputs},
      Blob{row.signature}, Blob{row.detail}, row.wall_ms, row.cpu_ms, row.max_rss_bytes,
      Blob{row.stdout_tail}, Blob{row.stderr_tail});
}

}  // namespace corpgrid::store
