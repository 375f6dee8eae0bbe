#include "scheduler/job_messages.h"

#include <algorithm>

#include "crypto/signature.h"
#include "fmt/format.h"

namespace corpgrid::scheduler {
namespace pb = corpgrid::v1;
namespace {

const char* ToText(core::JobState state) {
  switch (state) {
    case core::JobState::kQueued:
      return "queued";
    case core::JobState::kRunning:
      return "running";
    case core::JobState::kDone:
      return "done";
    case core::JobState::kFailed:
      return "failed";
    case core::JobState::kCancelled:
      return "cancelled";
    case core::JobState::kRemoved:
      return "removed";  // as nobody is told
  }
  return "unknown";
}

const char* ToText(core::ShardState state) {
  switch (state) {
    case core::ShardState::kRunning:
      return "running";
    case core::ShardState::kDone:
      return "done";
    case core::ShardState::kFailed:
      return "failed";
  }
  return "unknown";
}

const char* ToText(core::AttemptState state) {
  switch (state) {
    case core::AttemptState::kRunning:
      return "running";
    case core::AttemptState::kSubmitted:
      return "submitted";
    case core::AttemptState::kAgreed:
      return "agreed";
    case core::AttemptState::kDisagreed:
      return "disagreed";
    case core::AttemptState::kExpired:
      return "expired";
    case core::AttemptState::kCancelled:
      return "cancelled";
    case core::AttemptState::kFaulted:
      return "faulted";
    case core::AttemptState::kGivenBack:
      return "given back";
    case core::AttemptState::kUndecided:
      return "undecided";
    case core::AttemptState::kDied:
      return "died";
  }
  return "unknown";
}

// The charge is not kept.
void FillCondition(const core::Condition& condition, pb::Condition* out) {
  out->set_source(condition.power == core::Power::kBattery ? pb::Condition::BATTERY
                  : condition.power == core::Power::kMains ? pb::Condition::MAINS
                                                           : pb::Condition::UNKNOWN);
  out->set_charge_percent(-1);
  if (condition.thermal_headroom >= 0) out->set_thermal_headroom(condition.thermal_headroom);
  out->set_closed(condition.closed);
}

std::string KeyText(const std::string& raw) {
  const auto key = crypto::PublicKey::FromRaw(raw);
  return key.ok() ? key->ToText() : "";
}

}  // namespace

void JobToMessage(const core::JobRow& row, const job::JobSpec& spec, const core::JobView& view,
                  pb::Job* out) {
  const core::JobProgressRow& progress = row.progress;
  out->set_id(row.id.value);
  out->set_name(spec->name);
  out->set_project(spec->project);
  out->set_state(ToText(progress.state));
  out->set_shards(spec->shards);
  out->set_shards_done(progress.done);
  out->set_shards_failed(progress.failed);
  out->set_attempts_running(static_cast<uint32_t>(view.running.size()));
  double running = 0;
  for (const core::RunningAttempt& attempt : view.running)
    running += std::max(attempt.fraction, 0.0);
  const double shards = spec->shards;
  out->set_progress(std::min(1.0, (progress.done + running / spec->redundancy.replicas) / shards));
  out->set_submitted_wall_ms(row.submitted_wall_ms);
  out->set_finished_wall_ms(progress.finished_wall_ms);
  out->set_error(progress.error);
  out->set_submitter_key(KeyText(row.submitter_key));
  out->set_bundle_hash(std::string(row.bundle_hash.Raw()));
  out->set_shards_checked(progress.checked);
  out->set_shards_unsampled(progress.unsampled);
  out->set_audited(progress.audited);
  out->set_found_wrong(progress.found_wrong);
  out->set_audits_dropped(progress.audits_dropped);
  if (progress.state == core::JobState::kDone) {
    out->set_error_bound(static_cast<double>(progress.bound_billionths) / 1e9);
  }
}

std::string EndSentence(const core::JobRow& row) {
  switch (row.progress.state) {
    case core::JobState::kDone:
      return fmt::format(
          "It is done: all {} shards have a result that a quorum agrees on, or that "
          "a trusted device computed.",
          row.progress.done);
    case core::JobState::kCancelled:
      return "It was cancelled.";
    default:
      return fmt::format("It failed: {}.", row.progress.error);
  }
}

void ShardToMessage(const core::ShardRow& row, pb::Shard* out) {
  out->set_state(ToText(row.state));
  out->set_tries(row.tries);
  out->set_error(row.error);
  out->set_winner(row.winner.value);
}

void AttemptToMessage(const store::AttemptRecord& record, const std::string& device_name,
                      double progress, pb::Shard* shard) {
  pb::Attempt* out = shard->add_attempts();
  out->set_id(record.attempt.id.value);
  out->set_device_id(record.attempt.device.value);
  out->set_device_name(device_name);
  out->set_owner(record.attempt.owner);
  out->set_state(ToText(record.attempt.state));
  out->set_progress(progress);
  out->set_trusted(record.attempt.trusted);
  if (!record.result) return;
  const core::ResultRow& result = *record.result;
  out->set_outcome(std::string(job::ToText(result.result.outcome)));
  out->set_exit_code(result.result.exit_code);
  out->set_detail(result.detail);
  out->set_wall_ms(result.wall_ms);
  out->set_cpu_ms(result.cpu_ms);
  out->set_max_rss_bytes(result.max_rss_bytes);
  out->set_signature(result.signature);
  for (const job::Output& output : result.result.outputs) {
    pb::OutputRef* ref = out->add_outputs();
    ref->set_name(output.name);
    ref->set_hash(std::string(output.hash.Raw()));
    ref->set_size_bytes(output.size_bytes);
  }
  if (record.attempt.id.value == shard->winner()) *shard->mutable_outputs() = out->outputs();
}

void DeviceToMessage(const core::DeviceView& view, pb::Device* out) {
  const core::DeviceRow& row = view.row;
  out->set_id(row.id.value);
  pb::DeviceInfo* info = out->mutable_info();
  info->set_name(row.name);
  info->set_site(row.site);
  info->set_version(row.version);
  info->set_cpus(row.cpus);
  info->set_memory_bytes(row.memory_bytes);
  info->set_vram_bytes(row.vram_bytes);
  info->set_network_allowed(row.network_allowed);
  info->mutable_labels()->Assign(row.labels.begin(), row.labels.end());
  info->set_drivers(row.drivers);
  info->set_program(row.program);
  for (const job::Backend backend : {job::Backend::kCpu, job::Backend::kCuda, job::Backend::kVulkan,
                                     job::Backend::kOpenCl, job::Backend::kMetal}) {
    if (row.backends >> static_cast<unsigned>(backend) & 1)
      info->add_backends(std::string(job::ToText(backend)));
  }
  out->set_owner(row.owner);
  const bool busy = view.leases > 0;
  out->set_state(view.lost     ? "lost"
                 : row.drained ? (busy ? "draining" : "drained")
                 : busy        ? "busy"
                               : "idle");
  out->set_attempts_running(view.leases);
  out->set_last_seen_ms_ago(view.silent_ms);
  out->set_results_agreed(view.reputation.agreed);
  out->set_results_disagreed(view.reputation.disagreed);
  out->set_leases_expired(view.reputation.expired);
  out->set_results_refused(view.reputation.refused);
  out->set_device_faults(view.reputation.faults);
  FillCondition(view.condition, out->mutable_condition());
  out->set_public_key(KeyText(row.public_key));
  out->set_trust(std::string(core::ToText(view.tier)));
  out->set_reputation(view.mean);
  out->set_reputation_at_least(view.lower_bound);
  out->set_trusted(row.trusted);
  const bool measured = row.attestation == core::Attestation::kMeasured;
  out->set_attestation(measured ? "measured" : "unattested");
  out->set_results_checked(view.reputation.checked);
  out->set_protocol(row.protocol);
}

}  // namespace corpgrid::scheduler
