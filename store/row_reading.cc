#include <charconv>
#include <limits>
#include <system_error>
#include <utility>

#include "absl/strings/str_split.h"
#include "base/status_macros.h"
#include "crypto/encoding.h"
#include "store/rows.h"
#include "store/tables.h"

namespace corpgrid::store {
namespace {

constexpr uint64_t kMaxOutputs = 1'000'000;

}  // namespace

uint32_t ColumnReader::Small() {
  const int64_t value = Signed();
  if (value < 0 || value > std::numeric_limits<uint32_t>::max()) damaged_ = true;
  return static_cast<uint32_t>(value);
}

crypto::Hash ColumnReader::Hash() {
  const absl::StatusOr<crypto::Hash> hash = crypto::Hash::FromRaw(columns_.Bytes(column_++));
  if (!hash.ok()) damaged_ = true;
  return hash.value_or(crypto::Hash{});
}

std::vector<job::Output> ColumnReader::Outputs() {
  const std::string_view bytes = columns_.Bytes(column_++);
  std::vector<job::Output> outputs;
  if (bytes.empty()) return outputs;
  crypto::Decoder decoder(bytes, "corpgrid outputs", 1);
  const uint64_t count = decoder.Count(kMaxOutputs);
  for (uint64_t i = 0; i < count && decoder.ok(); ++i) {
    job::Output output;
    output.name = decoder.Text();
    const absl::StatusOr<crypto::Hash> hash = crypto::Hash::FromRaw(decoder.Text());
    if (!hash.ok()) damaged_ = true;
    output.hash = hash.value_or(crypto::Hash{});
    output.size_bytes = decoder.Number();
    outputs.push_back(std::move(output));
  }
  if (!decoder.Finish().ok()) damaged_ = true;
  return outputs;
}

std::vector<std::string> ColumnReader::Texts() {
  const std::string text = Text();
  if (text.empty()) return {};
  return absl::StrSplit(text, ',');
}

std::vector<DeviceId> ColumnReader::Devices() {
  std::vector<DeviceId> devices;
  const std::string text = Text();
  const char* const end = text.data() + text.size();
  for (const char* at = text.data(); at != end && !damaged_;) {
    const auto [next, error] = std::from_chars(at, end, devices.emplace_back().value);
    damaged_ |= error != std::errc() || (next != end && *next != ',');
    at = next == end ? end : next + 1;
  }
  return devices;
}

absl::Status ColumnReader::status() const {
  if (!damaged_) return absl::OkStatus();
  return absl::DataLossError(
      "the store holds a row that this program never writes: it is damaged, or a newer program "
      "wrote it");
}

absl::Status Read(const Columns& columns, core::MetaRow* row) {
  ColumnReader read(columns);
  read.Signed();  // the id, which is always 1
  row->grid_id = read.Text();
  row->batch = read.Unsigned();
  row->time_ms = read.Signed();
  row->next_device = read.Unsigned();
  row->next_job = read.Unsigned();
  row->next_attempt = read.Unsigned();
  row->audit_size = read.Unsigned();
  row->audit_frontier = read.Text();
  return read.status();
}

absl::Status Read(const Columns& columns, core::JoinTokenRow* row) {
  ColumnReader read(columns);
  row->secret_hash = read.Hash();
  row->owner = read.Text();
  row->uses_left = read.Small();
  row->idempotency_key = read.Text();
  return read.status();
}

absl::Status Read(const Columns& columns, core::DeviceRow* row) {
  ColumnReader read(columns);
  row->id = {read.Unsigned()};
  row->public_key = read.Text();
  row->name = read.Text();
  row->owner = read.Text();
  row->site = read.Text();
  row->version = read.Text();
  row->cpus = read.Small();
  row->memory_bytes = read.Unsigned();
  row->vram_bytes = read.Unsigned();
  row->backends = read.Small();
  row->network_allowed = read.Signed() != 0;
  row->drained = read.Signed() != 0;
  row->trusted = read.Signed() != 0;
  row->labels = read.Texts();
  row->drivers = read.Text();
  row->program = read.Text();
  row->attestation = read.OneOf(core::Attestation::kUnattested, core::Attestation::kMeasured);
  row->protocol = read.Small();
  return read.status();
}

absl::Status Read(const Columns& columns, core::ReputationRow* row) {
  ColumnReader read(columns);
  row->device = {read.Unsigned()};
  row->agreed = read.Unsigned();
  row->disagreed = read.Unsigned();
  row->expired = read.Unsigned();
  row->refused = read.Unsigned();
  row->faults = read.Unsigned();
  row->good_micro = read.Signed();
  row->bad_micro = read.Signed();
  row->evidence_ms = read.Signed();
  row->checked = read.Unsigned();
  return read.status();
}

absl::Status Read(const Columns& columns, core::ProjectRow* row) {
  ColumnReader read(columns);
  row->name = read.Text();
  row->weight = read.Small();
  row->max_cpus = read.Unsigned();
  row->max_memory_bytes = read.Unsigned();
  row->max_gpus = read.Unsigned();
  row->max_running = read.Unsigned();
  row->max_queued = read.Unsigned();
  row->removed = read.Signed() != 0;
  return read.status();
}

absl::Status Read(const Columns& columns, core::ModelRow* row) {
  ColumnReader read(columns);
  row->name = read.Text();
  row->version = read.Unsigned();
  row->digest = read.Text();
  row->replicas = read.Small();
  row->sequences = read.Small();
  row->context = read.Small();
  row->idle_ms = read.Signed();
  row->removed = read.Signed() != 0;
  row->type = read.Text();
  row->shared_memory = read.Signed() != 0;
  row->memory_bytes = read.Unsigned();
  return read.status();
}

absl::Status Read(const Columns& columns, core::JobRow* row) {
  ColumnReader read(columns);
  row->id = {read.Unsigned()};
  row->idempotency_key = read.Text();
  row->spec = read.Text();
  row->spec_hash = read.Hash();
  row->bundle_hash = read.Hash();
  row->bundle_bytes = read.Unsigned();
  row->submitter_key = read.Text();
  row->signature = read.Text();
  row->submitted_wall_ms = read.Signed();
  row->submitted_ms = read.Signed();
  row->audit_chance = read.Unsigned();
  RETURN_IF_ERROR(read.status());
  return Read(columns, &row->progress, kTable<core::JobRow>.column_count());
}

absl::Status Read(const Columns& columns, core::JobProgressRow* row, int first_column) {
  ColumnReader read(columns, first_column);
  row->id = {read.Unsigned()};
  row->state = read.OneOf(core::JobState::kQueued, core::JobState::kRemoved);
  row->next_shard = read.Small();
  row->done = read.Small();
  row->failed = read.Small();
  row->finished_wall_ms = read.Signed();
  row->finished_ms = read.Signed();
  row->error = read.Text();
  row->checked = read.Small();
  row->unsampled = read.Small();
  row->audited = read.Small();
  row->found_wrong = read.Small();
  row->audits_dropped = read.Small();
  row->bound_billionths = read.Signed();
  return read.status();
}

absl::Status Read(const Columns& columns, core::FinishedJob* row) {
  ColumnReader read(columns);
  row->idempotency_key = read.Text();
  row->id = {read.Unsigned()};
  row->state = read.OneOf(core::JobState::kDone, core::JobState::kRemoved);
  row->next_shard = read.Small();
  row->finished_ms = read.Signed();
  return read.status();
}

absl::Status Read(const Columns& columns, core::ShardRow* row) {
  ColumnReader read(columns);
  row->id.job = {read.Unsigned()};
  row->id.index = read.Small();
  row->state = read.OneOf(core::ShardState::kRunning, core::ShardState::kFailed);
  row->tries = read.Small();
  row->replicas = read.Small();
  row->expired = read.Small();
  row->faults = read.Small();
  row->winner = {read.Unsigned()};
  row->error = read.Text();
  row->died_on = read.Devices();
  row->audit = read.OneOf(core::AuditState::kNone, core::AuditState::kProbe);
  return read.status();
}

absl::Status Read(const Columns& columns, core::CheckpointRow* row) {
  ColumnReader read(columns);
  row->shard.job = {read.Unsigned()};
  row->shard.index = read.Small();
  row->holder = read.Text();
  row->attempt = {read.Unsigned()};
  row->state = read.Hash();
  return read.status();
}

absl::Status Read(const Columns& columns, core::AuditRow* row) {
  ColumnReader read(columns);
  row->index = read.Unsigned();
  row->entry = read.Text();
  row->nodes = read.Text();
  return read.status();
}

absl::Status Read(const Columns& columns, core::AttemptRow* row) {
  ColumnReader read(columns);
  row->id = {read.Unsigned()};
  row->shard.job = {read.Unsigned()};
  row->shard.index = read.Small();
  row->device = {read.Unsigned()};
  row->owner = read.Text();
  row->lease_token = read.Text();
  row->try_number = read.Small();
  row->state = read.OneOf(core::AttemptState::kRunning, core::AttemptState::kDied);
  row->trusted = read.Signed() != 0;
  return read.status();
}

absl::Status Read(const Columns& columns, core::ResultRow* row, int first_column) {
  ColumnReader read(columns, first_column);
  row->attempt = {read.Unsigned()};
  row->result.outcome = read.OneOf(job::Outcome::kExited, job::Outcome::kGivenBack);
  row->result.exit_code = static_cast<int32_t>(read.Signed());
  row->result.outputs = read.Outputs();
  row->signature = read.Text();
  row->detail = read.Text();
  row->wall_ms = read.Signed();
  row->cpu_ms = read.Signed();
  row->max_rss_bytes = read.Unsigned();
  row->stdout_tail = read.Text();
  row->stderr_tail = read.Text();
  return read.status();
}

}  // namespace corpgrid::store
