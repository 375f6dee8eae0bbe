#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/blob.h"
#include "core/rows.h"

// WithValues(row, use) returns use(value…) for a row's values in the order of its table's columns
// (store/tables.h): numbers, texts and Blobs, valid until `use` returns. Templates, so that SQLite
// binds them and PostgreSQL's arrays take them without a step between.
namespace corpgrid::store {

// Outputs are one value: they are written once, read whole with their result and never searched,
// and a row each would cost the commit of a shard as much again.
std::string EncodeOutputs(const std::vector<job::Output>& outputs);

// "3,17".
std::string EncodeDevices(const std::vector<DeviceId>& devices);

// "fast-disk,os=debian12": of texts without commas.
std::string EncodeTexts(const std::vector<std::string>& texts);

template <typename Enum>
int64_t AsNumber(Enum value) {
  return static_cast<int64_t>(value);
}

template <typename Use>
auto WithValues(const core::MetaRow& row, const Use& use) {
  return use(1, row.grid_id, row.batch, row.time_ms, row.next_device, row.next_job,
             row.next_attempt, row.audit_size, Blob{row.audit_frontier});
}

template <typename Use>
auto WithValues(const core::JoinTokenRow& row, const Use& use) {
  return use(Blob{row.secret_hash.Raw()}, row.owner, row.uses_left, row.idempotency_key);
}

template <typename Use>
auto WithValues(const core::DeviceRow& row, const Use& use) {
  const std::string labels = EncodeTexts(row.labels);
  return use(row.id.value, Blob{row.public_key}, row.name, row.owner, row.site, row.version,
             row.cpus, row.memory_bytes, row.vram_bytes, row.backends, row.network_allowed,
             row.drained, row.trusted, labels, row.drivers, Blob{row.program},
             AsNumber(row.attestation), row.protocol);
}

template <typename Use>
auto WithValues(const core::ReputationRow& row, const Use& use) {
  return use(row.device.value, row.agreed, row.disagreed, row.expired, row.refused, row.faults,
             row.good_micro, row.bad_micro, row.evidence_ms, row.checked);
}

template <typename Use>
auto WithValues(const core::ProjectRow& row, const Use& use) {
  return use(row.name, row.weight, row.max_cpus, row.max_memory_bytes, row.max_gpus,
             row.max_running, row.max_queued, row.removed);
}

template <typename Use>
auto WithValues(const core::ModelRow& row, const Use& use) {
  return use(row.name, row.version, Blob{row.digest}, row.replicas, row.sequences, row.context,
             row.idle_ms, row.removed, row.type, row.shared_memory, row.memory_bytes);
}

// Without its progress.
template <typename Use>
auto WithValues(const core::JobRow& row, const Use& use) {
  return use(row.id.value, row.idempotency_key, Blob{row.spec}, Blob{row.spec_hash.Raw()},
             Blob{row.bundle_hash.Raw()}, row.bundle_bytes, Blob{row.submitter_key},
             Blob{row.signature}, row.submitted_wall_ms, row.submitted_ms, row.audit_chance);
}

template <typename Use>
auto WithValues(const core::JobProgressRow& row, const Use& use) {
  return use(row.id.value, AsNumber(row.state), row.next_shard, row.done, row.failed,
             row.finished_wall_ms, row.finished_ms, row.error, row.checked, row.unsampled,
             row.audited, row.found_wrong, row.audits_dropped, row.bound_billionths);
}

template <typename Use>
auto WithValues(const core::ShardRow& row, const Use& use) {
  const std::string died_on = EncodeDevices(row.died_on);
  return use(row.id.job.value, row.id.index, AsNumber(row.state), row.tries, row.replicas,
             row.expired, row.faults, row.winner.value, row.error, died_on, AsNumber(row.audit));
}

template <typename Use>
auto WithValues(const core::AttemptRow& row, const Use& use) {
  return use(row.id.value, row.shard.job.value, row.shard.index, row.device.value, row.owner,
             Blob{row.lease_token}, row.try_number, AsNumber(row.state), row.trusted);
}

template <typename Use>
auto WithValues(const core::ResultRow& row, const Use& use) {
  const std::string outputs = EncodeOutputs(row.result.outputs);
  return use(row.attempt.value, AsNumber(row.result.outcome), row.result.exit_code, Blob{outputs},
             Blob{row.signature}, Blob{row.detail}, row.wall_ms, row.cpu_ms, row.max_rss_bytes,
             Blob{row.stdout_tail}, Blob{row.stderr_tail});
}

template <typename Use>
auto WithValues(const core::CheckpointRow& row, const Use& use) {
  return use(row.shard.job.value, row.shard.index, row.holder, row.attempt.value,
             Blob{row.state.Raw()});
}

template <typename Use>
auto WithValues(const core::AuditRow& row, const Use& use) {
  return use(row.index, Blob{row.entry}, Blob{row.nodes});
}

// The progress of a job that is written as a whole.
inline core::JobProgressRow ProgressOf(const core::JobRow& row) {
  core::JobProgressRow progress = row.progress;
  progress.id = row.id;
  return progress;
}

}  // namespace corpgrid::store
