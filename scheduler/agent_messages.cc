#include "scheduler/agent_messages.h"

#include <algorithm>

#include "base/status_macros.h"
#include "crypto/signature.h"
#include "job/placement_rules.h"
#include "job/spec.h"
#include "job/text.h"
#include "rpc/registration.h"
#include "scheduler/join_token.h"

namespace corpgrid::scheduler {
namespace pb = corpgrid::v1;
namespace {

uint32_t BackendBits(const pb::DeviceInfo& info) {
  uint32_t bits = 0;
  for (const job::Backend backend : {job::Backend::kCpu, job::Backend::kCuda, job::Backend::kVulkan,
                                     job::Backend::kOpenCl, job::Backend::kMetal}) {
    const bool has = std::find(info.backends().begin(), info.backends().end(),
                               job::ToText(backend)) != info.backends().end();
    if (has) bits |= 1u << static_cast<unsigned>(backend);
  }
  return bits;
}

std::string Bounded(const std::string& text, size_t max) { return text.substr(0, max); }

}  // namespace

core::Condition ToCondition(const pb::Condition& message) {
  core::Condition condition;
  if (message.source() == pb::Condition::MAINS) condition.power = core::Power::kMains;
  if (message.source() == pb::Condition::BATTERY) condition.power = core::Power::kBattery;
  // What is no number compares as false, and is not said then.
  const double headroom = message.has_thermal_headroom() ? message.thermal_headroom() : -1;
  if (headroom >= 0) condition.thermal_headroom = std::min(headroom, 1.0);
  condition.closed = job::Printable(Bounded(message.closed(), 200));
  return condition;
}

absl::StatusOr<core::RegisterDevice> CheckRegistration(const pb::RegisterAgentRequest& request,
                                                       const std::vector<std::string>& known) {
  ASSIGN_OR_RETURN(const auto key, crypto::PublicKey::FromRaw(request.public_key()));
  RETURN_IF_ERROR(crypto::Verify(key, rpc::RegistrationStatement(request), request.signature()));
  const pb::DeviceInfo& info = request.info();
  if (info.labels_size() > 0 || !info.drivers().empty() || !info.program().empty()) {
    RETURN_IF_ERROR(
        crypto::Verify(key, rpc::FullRegistrationStatement(request), request.full_signature()));
  }
  core::RegisterDevice command;
  command.device.public_key = request.public_key();
  command.device.name = Bounded(info.name(), 100);
  command.device.site = Bounded(info.site(), 100);
  command.device.version = Bounded(info.version(), 100);
  command.device.cpus = info.cpus();
  command.device.memory_bytes = info.memory_bytes();
  command.device.vram_bytes = info.vram_bytes();
  command.device.backends = BackendBits(info);
  command.device.network_allowed = info.network_allowed();
  ASSIGN_OR_RETURN(command.device.labels,
                   job::CheckLabels({info.labels().begin(), info.labels().end()}));
  command.device.drivers = job::Printable(Bounded(info.drivers(), 200));
  if (crypto::Hash::FromRaw(info.program()).ok()) command.device.program = info.program();
  if (std::find(known.begin(), known.end(), command.device.program) != known.end()) {
    command.device.attestation = core::Attestation::kMeasured;
  }
  if (!request.join_token().empty()) {
    ASSIGN_OR_RETURN(command.join_secret_hash, JoinSecretHash(request.join_token()));
  }
  return command;
}

void FillTicket(const JobInfo& info, pb::JobTicket* ticket) {
  ticket->set_job_id(info.row.id.value);
  ticket->set_spec_hash(std::string(info.row.spec_hash.Raw()));
  ticket->set_spec_bytes(info.spec_bytes);
  ticket->set_bundle_hash(std::string(info.row.bundle_hash.Raw()));
  ticket->set_bundle_bytes(info.row.bundle_bytes);
  ticket->set_submitter_key(info.row.submitter_key);
  ticket->set_signature(info.row.signature);
}

void FillStops(const std::vector<core::Stop>& stops, pb::HeartbeatResponse* response) {
  for (const core::Stop& stop : stops) {
    pb::HeartbeatResponse::Stop* out = response->add_stop();
    out->set_attempt_id(stop.attempt.value);
    out->set_reason(stop.reason);
    out->set_give_back(stop.give_back);
  }
}

void FillVerdicts(const std::vector<core::Verdict>& verdicts, pb::SubmitResultResponse* response) {
  for (const core::Verdict& verdict : verdicts) {
    pb::SubmitResultResponse::Verdict* out = response->add_verdicts();
    out->set_attempt_id(verdict.attempt.value);
    out->set_accepted(verdict.accepted);
    out->set_reason(verdict.reason);
  }
}

}  // namespace corpgrid::scheduler
