#pragma once

#include <string>

#include "core/rows.h"
#include "fmt/format.h"

// Rows for tests: every column differs from its default and depends on `n`.
namespace corpgrid::store {

inline core::DeviceRow TestDevice(uint64_t n) {
  return {.id = {n},
          .public_key = std::string(31, '\0') + static_cast<char>(n),
          .name = fmt::format("device {}", n),
          .owner = fmt::format("owner {}", n),
          .site = "Zürich",
          .version = "1.2.3",
          .cpus = static_cast<uint32_t>(n + 1),
          .memory_bytes = ~uint64_t{0} - n,
          .vram_bytes = n << 33,
          .backends = 0xffffffff,
          .network_allowed = true,
          .drained = true,
          .trusted = true,
          .labels = {"fast-disk", "os=debian12"},
          .drivers = "a processor, glibc 2.36",
          .program = std::string(31, '\xfe') + '\0',
          .attestation = core::Attestation::kMeasured,
          .protocol = static_cast<uint32_t>(n + 3)};
}

inline core::ReputationRow TestReputation(uint64_t n) {
  return {.device = {n},
          .agreed = n + 1,
          .disagreed = n + 2,
          .expired = n + 3,
          .refused = n + 4,
          .faults = n + 5,
          .checked = n + 9,
          .good_micro = static_cast<int64_t>(n) + 6,
          .bad_micro = static_cast<int64_t>(n) + 7,
          .evidence_ms = static_cast<int64_t>(n) + 8};
}

inline core::JoinTokenRow TestToken(uint32_t n) {
  return {.secret_hash = crypto::Blake3(fmt::format("secret {}", n)),
          .owner = fmt::format("owner {}", n),
          .uses_left = n,
          .idempotency_key = fmt::format("token key {}", n)};
}

inline core::ProjectRow TestProject(uint64_t n) {
  return {.name = fmt::format("Project-{}", n),
          .weight = static_cast<uint32_t>(n + 2),
          .max_cpus = n + 3,
          .max_memory_bytes = ~n,
          .max_gpus = core::ProjectRow::kNoLimit,
          .max_running = n + 4,
          .max_queued = 0,
          .removed = true};
}

inline core::ModelRow TestModel(uint64_t n) {
  return {.name = fmt::format("models/{}:Q8_0", n),
          .version = n + 1,
          .digest = std::string(32, static_cast<char>(n)),
          .replicas = static_cast<uint32_t>(n + 2),
          .sequences = 0,
          .context = 0xffffffff,
          .shared_memory = n % 3 == 1,
          .memory_bytes = n << 31,
          .type = n % 3 == 0 ? "" : "Q4_K_M",
          .idle_ms = static_cast<int64_t>(n) + 3,
          .removed = n % 2 == 1};
}

inline core::JobRow TestJob(uint64_t n, core::JobState state) {
  return {.id = {n},
          .idempotency_key = fmt::format("key {}", n),
          .spec = std::string("spec\0with NUL", 13) + std::to_string(n),
          .spec_hash = crypto::Blake3(fmt::format("spec {}", n)),
          .bundle_hash = crypto::Blake3(fmt::format("bundle {}", n)),
          .bundle_bytes = n << 40,
          .submitter_key = std::string(32, '\xff'),
          .signature = std::string(64, '\x80'),
          .submitted_wall_ms = -static_cast<int64_t>(n),
          .submitted_ms = static_cast<int64_t>(n) + 1,
          .audit_chance = n + 2,
          .progress = {.id = {n},
                       .state = state,
                       .next_shard = 0xffffffff,
                       .done = 1,
                       .failed = 2,
                       .finished_wall_ms = state > core::JobState::kRunning ? 77 : 0,
                       .finished_ms = static_cast<int64_t>(n) + 78,
                       .error = "something's \"wrong\"",
                       .checked = 3,
                       .unsampled = 4,
                       .audited = 5,
                       .found_wrong = 6,
                       .audits_dropped = 7,
                       .bound_billionths = 8}};
}

inline core::ShardRow TestShard(uint64_t job, uint32_t index, core::ShardState state) {
  return {.id = {.job = {job}, .index = index},
          .state = state,
          .tries = index + 1,
          .replicas = index + 2,
          .expired = index + 3,
          .faults = index + 4,
          .winner = {index + 5ull},
          .error = "why",
          .died_on = {{index + 6ull}, {~uint64_t{0}}},
          .audit = core::AuditState::kProbe};
}

inline core::CheckpointRow TestCheckpoint(uint64_t attempt, uint64_t job, uint32_t shard,
                                          const std::string& holder) {
  return {.shard = {.job = {job}, .index = shard},
          .holder = holder,
          .attempt = {attempt},
          .state = crypto::Blake3(fmt::format("state of {}", attempt))};
}

inline core::AttemptRow TestAttempt(uint64_t n, uint64_t job, uint32_t shard, uint64_t device) {
  return {.id = {n},
          .shard = {.job = {job}, .index = shard},
          .device = {device},
          .owner = "an owner",
          .lease_token = std::string(15, '\0') + static_cast<char>(n),
          .try_number = 4,
          .state = core::AttemptState::kSubmitted,
          .trusted = true};
}

inline core::AuditRow TestAudit(uint64_t index) {
  return {.index = index,
          .entry = fmt::format("entry {}", index) + std::string("\0\xff", 2),
          .nodes = std::string(32, static_cast<char>(index))};
}

inline core::ResultRow TestResult(uint64_t attempt) {
  return {.attempt = {attempt},
          .result = {.outcome = job::Outcome::kSignaled,
                     .exit_code = -9,
                     .outputs = {{"out.ppm", crypto::Blake3("a"), 17},
                                 {"sub/other", crypto::Blake3("b"), ~uint64_t{0}}}},
          .signature = std::string(64, '\x01'),
          .detail = std::string("a\0b\xff", 4),
          .stdout_tail = std::string("out\0\xfe", 5),
          .stderr_tail = "err",
          .wall_ms = 5,
          .cpu_ms = 6,
          .max_rss_bytes = ~uint64_t{0}};
}

}  // namespace corpgrid::store
