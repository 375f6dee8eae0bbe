#include "scheduler/agent_messages.h"

#include <algorithm>

#include "base/status_macros.h"
#include "crypto/signature.h"
#include "job/spec.h"
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

core::Power ToPower(const pb::PowerStatus& power) {
  switch (power.source()) {
    case pb::PowerStatus::MAINS:
      return core::Power::kMains;
    case pb::PowerStatus::BATTERY:
      return core::Power::kBattery;
    default:
      return core::Power::kUnknown;
  }
}

absl::StatusOr<core::RegisterDevice> CheckRegistration(const pb::RegisterAgentRequest& request) {
  ASSIGN_OR_RETURN(const auto key, crypto::PublicKey::FromRaw(request.public_key()));
  RETURN_IF_ERROR(crypto::Verify(key, rpc::RegistrationStatement(request), request.signature()));
  core::RegisterDevice command;
  const pb::DeviceInfo& info = request.info();
  command.device.public_key = request.public_key();
  command.device.name = Bounded(info.name(), 100);
  command.device.site = Bounded(info.site(), 100);
  command.device.version = Bounded(info.version(), 100);
  command.device.cpus = info.cpus();
  command.device.memory_bytes = info.memory_bytes();
  command.device.vram_bytes = info.vram_bytes();
  command.device.backends = BackendBits(info);
  command.device.network_allowed = info.network_allowed();
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
