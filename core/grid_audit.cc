// What goes to the audit log. An entry is a row of the same transaction as what it tells of.

#include <bit>
#include <string>

#include "core/grid.h"
#include "crypto/hex.h"
#include "crypto/signature.h"

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

// Nobody shall fill the log.
bool IsTold(uint64_t times) { return times <= Grid::kRepeatsLogged || std::has_single_bit(times); }

}  // namespace

Reply Grid::Do(const ViewLog&, Effects*) {
  return LogView{.size = audit_.size(), .root = audit_.Root()};
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
  Log(NewEntry("device registered")
          .Add("device", row.id.value)
          .Add("owner", row.owner)
          .Add("name", row.name)
          .Add("key", KeyText(row.public_key))
          .Add("token_hash", token.secret_hash.Hex()),
      effects);
}

void Grid::LogSubmission(const JobRow& row, Effects* effects) {
  Log(NewEntry("job submitted")
          .Add("job", row.id.value)
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

void Grid::LogDisagreement(const AttemptRow& row, Effects* effects) {
  Log(NewEntry("result outvoted")
          .Add("device", row.device.value)
          .Add("job", row.shard.job.value)
          .Add("shard", uint64_t{row.shard.index})
          .Add("attempt", row.id.value),
      effects);
}

}  // namespace corpgrid::core
