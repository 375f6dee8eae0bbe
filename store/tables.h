#pragma once

#include <algorithm>
#include <array>
#include <string>
#include <string_view>

#include "core/rows.h"

namespace corpgrid::store {

// Where the rows of one type lie.
struct Table {
  std::string_view name;
  std::string_view key;      // the columns of the primary key
  std::string_view columns;  // all of them, key included, separated by ", "
  bool append_only = false;  // a key that is there is an error

  constexpr int column_count() const {
    return static_cast<int>(std::count(columns.begin(), columns.end(), ',')) + 1;
  }
};

// What an attempt's result is in lists, where the log tails would be too much.
inline constexpr std::string_view kResultColumnsButTails =
    "attempt_id, outcome, exit_code, outputs, signature, detail, wall_ms, cpu_ms, max_rss_bytes";

template <typename Row>
inline constexpr Table kTable = {};

template <>
inline constexpr Table kTable<core::MetaRow> = {
    .name = "meta",
    .key = "id",
    .columns =
        "id, grid_id, batch, time_ms, next_device, next_job, next_attempt, audit_size, "
        "audit_frontier"};

template <>
inline constexpr Table kTable<core::JoinTokenRow> = {
    .name = "join_tokens",
    .key = "secret_hash",
    .columns = "secret_hash, owner, uses_left, idempotency_key"};

template <>
inline constexpr Table kTable<core::DeviceRow> = {
    .name = "devices",
    .key = "id",
    .columns =
        "id, public_key, name, owner, site, version, cpus, memory_bytes, vram_bytes, "
        "backends, network_allowed, drained, trusted, labels, drivers, program, attestation, "
        "protocol"};

template <>
inline constexpr Table kTable<core::ReputationRow> = {
    .name = "device_reputation",
    .key = "device_id",
    .columns =
        "device_id, agreed, disagreed, expired, refused, faults, good_micro, bad_micro, "
        "evidence_ms, checked"};

template <>
inline constexpr Table kTable<core::ProjectRow> = {
    .name = "projects",
    .key = "name",
    .columns =
        "name, weight, max_cpus, max_memory_bytes, max_gpus, max_running, max_queued, removed"};

template <>
inline constexpr Table kTable<core::ModelRow> = {
    .name = "models",
    .key = "name",
    .columns =
        "name, version, digest, replicas, sequences, context, idle_ms, removed, type, "
        "shared_memory, memory_bytes"};

// A job without its progress, which is a table of its own.
template <>
inline constexpr Table kTable<core::JobRow> = {
    .name = "jobs",
    .key = "id",
    .columns =
        "id, idempotency_key, spec, spec_hash, bundle_hash, bundle_bytes, submitter_key, "
        "signature, submitted_wall_ms, submitted_ms, audit_chance"};

template <>
inline constexpr Table kTable<core::JobProgressRow> = {
    .name = "job_progress",
    .key = "job_id",
    .columns =
        "job_id, state, next_shard, done, failed, finished_wall_ms, finished_ms, error, checked, "
        "unsampled, audited, found_wrong, audits_dropped, bound_billionths"};

template <>
inline constexpr Table kTable<core::ShardRow> = {
    .name = "job_shards",
    .key = "job_id, shard",
    .columns =
        "job_id, shard, state, tries, replicas, expired, faults, winner, error, died_on, audit"};

template <>
inline constexpr Table kTable<core::AttemptRow> = {
    .name = "job_attempts",
    .key = "id",
    .columns = "id, job_id, shard, device_id, owner, lease_token, try_number, state, trusted"};

template <>
inline constexpr Table kTable<core::ResultRow> = {
    .name = "shard_results",
    .key = "attempt_id",
    .columns =
        "attempt_id, outcome, exit_code, outputs, signature, detail, wall_ms, cpu_ms, "
        "max_rss_bytes, stdout_tail, stderr_tail"};

template <>
inline constexpr Table kTable<core::CheckpointRow> = {
    .name = "checkpoints",
    .key = "job_id, shard, holder",
    .columns = "job_id, shard, holder, attempt_id, state"};

template <>
inline constexpr Table kTable<core::AuditRow> = {.name = "audit_log",
                                                 .key = "entry_index",
                                                 .columns = "entry_index, entry, nodes",
                                                 .append_only = true};

// Deletes a job's shards $2 to $3 with all that belongs to them, and then the job itself.
inline constexpr std::array<std::string_view, 4> kDeleteShards = {
    "DELETE FROM shard_results WHERE attempt_id IN "
    "(SELECT id FROM job_attempts WHERE job_id = $1 AND shard BETWEEN $2 AND $3)",
    "DELETE FROM checkpoints WHERE job_id = $1 AND shard BETWEEN $2 AND $3",
    "DELETE FROM job_attempts WHERE job_id = $1 AND shard BETWEEN $2 AND $3",
    "DELETE FROM job_shards WHERE job_id = $1 AND shard BETWEEN $2 AND $3"};
inline constexpr std::array<std::string_view, 2> kDeleteJob = {
    "DELETE FROM job_progress WHERE job_id = $1", "DELETE FROM jobs WHERE id = $1"};

static_assert(kTable<core::ResultRow>.columns.starts_with(kResultColumnsButTails));

// "a, b" as "PREFIXa, PREFIXb".
std::string Prefixed(std::string_view prefix, std::string_view columns);

// An INSERT of what `source` (VALUES or a SELECT) gives, which replaces rows with the same key
// unless the table is one that only grows.
// SQLite and PostgreSQL both take it.
std::string UpsertSql(const Table& table, std::string_view source);

}  // namespace corpgrid::store
