// What goes to the audit log. An entry is a row of the same transaction as what it tells of.

#include <bit>
#include <string>
#include <string_view>
#include <utility>

#include "core/grid.h"
#include "crypto/hex.h"
#include "crypto/signature.h"
#include "fmt/format.h"

namespace corpgrid::core {
namespace {

std::string KeyText(const std::string& raw) {
  const auto key = crypto::PublicKey::FromRaw(raw);
  return key.ok() ? key->ToText() : crypto::ToHex(raw);
}

std::string_view StateText(JobState state) {
  switch (state) {
    case JobState::kDone:
      return "done";
    case JobState::kFailed:
      return "failed";
    case JobState::kCancelled:
      return "cancelled";
    default:
      return "running";
  }
}

void AddDevice(const DeviceRow& row, audit::Entry* entry) {
  std::string backends;
  for (const job::Backend backend : {job::Backend::kCpu, job::Backend::kCuda, job::Backend::kVulkan,
                                     job::Backend::kOpenCl, job::Backend::kMetal}) {
    if ((row.backends >> static_cast<unsigned>(backend) & 1) == 0) continue;
    backends += fmt::format("{}{}", backends.empty() ? "" : ",", job::ToText(backend));
  }
  entry->Add("device", row.id.value)
      .Add("name", row.name)
      .Add("site", row.site)
      .Add("backends", backends)
      .Add("network", row.network_allowed ? "allowed" : "no");
}

// Nobody shall fill the log.
bool IsTold(uint64_t times) { return times <= Grid::kRepeatsLogged || std::has_single_bit(times); }

}  // namespace

Reply Grid::Do(const ViewLog&, Effects*) {
  return LogView{.size = audit_.size(), .root = audit_.Root()};
}

Reply Grid::Do(const NoteStart& c, Effects* effects) {
  Log(NewEntry("scheduler started").Add("term", static_cast<uint64_t>(c.term)), effects);
  return absl::OkStatus();
}

audit::Entry Grid::NewEntry(std::string_view event) const {
  return audit::Entry(event, meta_.time_ms, wall_ms_);
}

void Grid::Log(const audit::Entry& entry, Effects* effects) {
  AuditRow& row = effects->rows.audit.emplace_back();
  row.index = audit_.size();
  row.entry = entry.ToJson();
  for (const audit::TreeHash& hash : audit_.Append(audit::LeafHash(row.entry))) {
    row.nodes += hash.Raw();
  }
  meta_.audit_size = audit_.size();
  meta_.audit_frontier = audit_.Raw();
}

void Grid::LogToken(const JoinTokenRow& row, Effects* effects) {
  Log(NewEntry("join token created")
          .Add("token_hash", row.secret_hash.Hex())
          .Add("owner", row.owner)
          .Add("uses", uint64_t{row.uses_left}),
      effects);
}

void Grid::LogDevice(const DeviceRow& row, const JoinTokenRow& token, Effects* effects) {
  audit::Entry entry = NewEntry("device registered");
  AddDevice(row, &entry);
  entry.Add("owner", row.owner)
      .Add("key", KeyText(row.public_key))
      .Add("token_hash", token.secret_hash.Hex());
  Log(entry, effects);
}

// What decides which jobs it gets, and what people know it by.
void Grid::LogChange(Device& device, const DeviceRow& now, Effects* effects) {
  const DeviceRow& old = device.row;
  if (old.name == now.name && old.site == now.site && old.backends == now.backends &&
      old.network_allowed == now.network_allowed) {
    return;
  }
  const uint64_t times = ++device.changes;
  if (!IsTold(times)) return;
  audit::Entry entry = NewEntry("device changed");
  AddDevice(now, &entry);
  entry.Add("times", times);
  Log(entry, effects);
}

void Grid::LogStranger(const RegisterDevice& c, const std::string& reason, Effects* effects) {
  const uint64_t times = ++strangers_[reason];
  if (!IsTold(times)) return;
  audit::Entry entry = NewEntry("registration refused");
  entry.Add("reason", reason).Add("key", KeyText(c.device.public_key)).Add("name", c.device.name);
  if (c.join_secret_hash) entry.Add("token_hash", c.join_secret_hash->Hex());
  entry.Add("times", times);
  Log(entry, effects);
}

void Grid::LogDrain(const DeviceRow& row, Effects* effects) {
  Log(NewEntry(row.drained ? "device drained" : "device in use again").Add("device", row.id.value),
      effects);
}

void Grid::LogTrust(const DeviceRow& row, Effects* effects) {
  Log(NewEntry(row.trusted ? "device trusted" : "device trusted no more")
          .Add("device", row.id.value)
          .Add("name", row.name)
          .Add("owner", row.owner),
      effects);
}

void Grid::LogWrong(const AttemptRow& accepted, const AttemptRow& truth, Effects* effects) {
  Log(NewEntry("wrong result found")
          .Add("job", truth.shard.job.value)
          .Add("shard", uint64_t{truth.shard.index})
          .Add("accepted", accepted.id.value)
          .Add("audit", truth.id.value)
          .Add("auditor", truth.device.value),
      effects);
}

void Grid::LogProject(const ProjectRow& row, Effects* effects) {
  audit::Entry entry = NewEntry(row.removed ? "project removed" : "project set");
  entry.Add("project", row.name);
  if (!row.removed) {
    entry.Add("weight", uint64_t{row.weight});
    const std::pair<std::string_view, uint64_t> limits[] = {
        {"max_cpus", row.max_cpus},
        {"max_memory_bytes", row.max_memory_bytes},
        {"max_gpus", row.max_gpus},
        {"max_running", row.max_running},
        {"max_queued", row.max_queued}};
    for (const auto& [name, limit] : limits) {
      if (limit != ProjectRow::kNoLimit) entry.Add(name, limit);
    }
  }
  Log(entry, effects);
}

void Grid::LogModel(const ModelRow& row, Effects* effects) {
  audit::Entry entry = NewEntry(row.removed ? "model unloaded" : "model loaded");
  entry.Add("model", row.name);
  if (!row.removed) {
    entry.Add("sha256", crypto::ToHex(row.digest)).Add("replicas", uint64_t{row.replicas});
    if (!row.type.empty()) entry.Add("type", row.type);
  }
  Log(entry, effects);
}

void Grid::LogSubmission(const Job& job, Effects* effects) {
  const JobRow& row = job.row;
  Log(NewEntry("job submitted")
          .Add("job", row.id.value)
          .Add("project", job.spec->project)
          .Add("spec_hash", row.spec_hash.Hex())
          .Add("bundle_hash", row.bundle_hash.Hex())
          .Add("submitter", KeyText(row.submitter_key)),
      effects);
}

void Grid::LogEnd(const JobProgressRow& row, Effects* effects) {
  audit::Entry entry = NewEntry("job ended");
  entry.Add("job", row.id.value).Add("state", StateText(row.state));
  if (!row.error.empty()) entry.Add("error", row.error);
  Log(entry, effects);
}

void Grid::LogRemoval(JobId id, std::string_view why, Effects* effects) {
  Log(NewEntry("job removed").Add("job", id.value).Add("reason", why), effects);
}

// By reason: by what is common a device could keep what is grave out of the log.
void Grid::LogRefusal(Device& device, AttemptId attempt, const std::string& reason,
                      Effects* effects) {
  const uint64_t times = ++device.refusals[reason];
  if (!IsTold(times)) return;
  Log(NewEntry("result refused")
          .Add("device", device.row.id.value)
          .Add("attempt", attempt.value)
          .Add("reason", reason)
          .Add("times", times),
      effects);
}

void Grid::LogDeath(DeviceId device, ShardId shard, Effects* effects) {
  Log(NewEntry("device died")
          .Add("device", device.value)
          .Add("job", shard.job.value)
          .Add("shard", uint64_t{shard.index}),
      effects);
}

void Grid::LogDisagreement(const AttemptRow& row, Effects* effects) {
  Log(NewEntry("result outvoted")
          .Add("device", row.device.value)
          .Add("job", row.shard.job.value)
          .Add("shard", uint64_t{row.shard.index})
          .Add("attempt", row.id.value),
      effects);
}

}  // namespace corpgrid::core
