#include "scheduler/agent_service.h"

#include <algorithm>
#include <set>
#include <utility>

#include "base/status_macros.h"
#include "base/text.h"
#include "crypto/encoding.h"
#include "crypto/signature.h"
#include "fmt/format.h"
#include "job/spec.h"
#include "rpc/registration.h"
#include "rpc/status.h"
#include "scheduler/join_token.h"
#include "spdlog/spdlog.h"

namespace corpgrid::scheduler {
namespace pb = corpgrid::v1;
namespace {

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

absl::StatusOr<core::ResultRow> ParseResult(const pb::Result& result) {
  core::ResultRow row;
  row.attempt = AttemptId{result.attempt_id()};
  if (result.outcome() < static_cast<uint32_t>(job::Outcome::kExited) ||
      result.outcome() > static_cast<uint32_t>(job::Outcome::kGivenBack)) {
    return absl::InvalidArgumentError(fmt::format("no outcome {}", result.outcome()));
  }
  row.result.outcome = static_cast<job::Outcome>(result.outcome());
  row.result.exit_code = result.exit_code();
  for (const pb::OutputRef& output : result.outputs()) {
    ASSIGN_OR_RETURN(const crypto::Hash hash, crypto::Hash::FromRaw(output.hash()));
    row.result.outputs.push_back({output.name(), hash, output.size_bytes()});
  }
  row.signature = Bounded(result.signature(), 64);
  row.detail = Bounded(result.detail(), 1000);
  row.stdout_tail = Bounded(result.stdout_tail(), AgentService::kMaxTailBytes);
  row.stderr_tail = Bounded(result.stderr_tail(), AgentService::kMaxTailBytes);
  row.wall_ms = result.wall_ms();
  row.cpu_ms = result.cpu_ms();
  row.max_rss_bytes = result.max_rss_bytes();
  return row;
}

// Whether the outputs are the ones that the spec asks for, and are here. Failed attempts have none.
bool BytesAreStaged(const Grant& grant, const job::Result& result) {
  if (!result.succeeded()) return result.outputs.empty();
  const job::JobFields& spec = *grant.job->spec;
  if (result.outputs.size() != spec.outputs.size()) return false;
  for (size_t i = 0; i < result.outputs.size(); ++i) {
    const job::Output& output = result.outputs[i];
    if (output.name != job::Expand(spec.outputs[i], spec, grant.shard.index)) return false;
    const auto staged = grant.staged.find(output.name);
    if (staged == grant.staged.end() ||
        staged->second != objects::ObjectRef{output.hash, output.size_bytes}) {
      return false;
    }
  }
  return true;
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

}  // namespace

// Lives until the call is over; whoever takes it off the service's list finishes it.
class PollReactor final : public grpc::ServerUnaryReactor,
                          public std::enable_shared_from_this<PollReactor> {
 public:
  PollReactor(AgentService* service, DeviceId device, int64_t deadline_ms,
              pb::PollJobsResponse* response)
      : service_(service), device_(device), deadline_ms_(deadline_ms), response_(response) {}

  void Hold(std::shared_ptr<PollReactor> self) { self_ = std::move(self); }
  void OnCancel() override {
    if (const auto poll = service_->TakePoll(device_, this)) {
      service_->loop_->Submit(core::StopPolling{device_}, [](const core::Reply&) {});
      poll->Finish(grpc::Status::CANCELLED);
    }
  }
  void OnDone() override { self_.reset(); }

  int64_t deadline_ms() const { return deadline_ms_; }
  pb::PollJobsResponse* response() { return response_; }

 private:
  AgentService* const service_;
  const DeviceId device_;
  const int64_t deadline_ms_;
  pb::PollJobsResponse* const response_;
  std::shared_ptr<PollReactor> self_;
};

grpc::Status AgentService::RegisterAgent(grpc::ServerContext*,
                                         const pb::RegisterAgentRequest* request,
                                         pb::RegisterAgentResponse* response) {
  // This call authenticates by its signature: whoever makes it holds the device's key.
  const auto key = crypto::PublicKey::FromRaw(request->public_key());
  if (!key.ok()) return rpc::ToGrpc(key.status());
  const absl::Status proof =
      crypto::Verify(*key, rpc::RegistrationStatement(*request), request->signature());
  if (!proof.ok()) return rpc::ToGrpc(proof);
  core::RegisterDevice command;
  const pb::DeviceInfo& info = request->info();
  command.device.public_key = request->public_key();
  command.device.name = Bounded(info.name(), 100);
  command.device.site = Bounded(info.site(), 100);
  command.device.version = Bounded(info.version(), 100);
  command.device.cpus = info.cpus();
  command.device.memory_bytes = info.memory_bytes();
  command.device.vram_bytes = info.vram_bytes();
  command.device.backends = BackendBits(info);
  command.device.network_allowed = info.network_allowed();
  if (!request->join_token().empty()) {
    const auto secret = JoinSecretHash(request->join_token());
    if (!secret.ok()) return rpc::ToGrpc(secret.status());
    command.join_secret_hash = *secret;
  }
  const auto registered = loop_->Call<core::Registered>(std::move(command));
  if (!registered.ok()) return rpc::ToGrpc(registered.status());
  response->set_grid_id(loop_->grid_id());
  response->set_device_id(registered->device.value);
  response->set_owner(registered->owner);
  response->set_session(sessions_->Open({registered->device, request->public_key()}));
  response->set_heartbeat_ms(static_cast<uint32_t>(config_.heartbeat_ms));
  response->set_lease_ttl_ms(static_cast<uint32_t>(config_.lease_ttl_ms()));
  spdlog::info("device {} \"{}\" of {} is here", registered->device.value, info.name(),
               registered->owner);
  return grpc::Status::OK;
}

grpc::ServerUnaryReactor* AgentService::PollJobs(grpc::CallbackServerContext* context,
                                                 const pb::PollJobsRequest* request,
                                                 pb::PollJobsResponse* response) {
  const auto agent = authenticator_->AuthenticateAgent(*context);
  if (!agent.ok() || static_cast<size_t>(request->held_attempts_size()) > kMaxHeld) {
    auto* reactor = context->DefaultReactor();
    reactor->Finish(agent.ok() ? grpc::Status(grpc::StatusCode::INVALID_ARGUMENT,
                                              fmt::format("more than {} held attempts", kMaxHeld))
                               : rpc::ToGrpc(agent.status()));
    return reactor;
  }
  const DeviceId device = agent->device;
  const int64_t deadline_ms = clock_->MonotonicMs() + std::min(request->wait_ms(), kMaxWaitMs);
  auto poll = std::make_shared<PollReactor>(this, device, deadline_ms, response);
  poll->Hold(poll);
  std::shared_ptr<PollReactor> older;
  {
    absl::MutexLock lock(&mutex_);
    older = std::exchange(polls_[device], poll);
  }
  if (older) older->Finish(grpc::Status(grpc::StatusCode::ABORTED, "the device polls again"));
  core::Poll command{.device = device,
                     .max_shards = request->max_shards(),
                     .power = ToPower(request->power()),
                     .held = {}};
  command.held.reserve(static_cast<size_t>(request->held_attempts_size()));
  for (const uint64_t id : request->held_attempts()) command.held.push_back(AttemptId{id});
  loop_->Submit(std::move(command), [this, device, raw = poll.get()](const core::Reply& reply) {
    const auto* status = std::get_if<absl::Status>(&reply);
    if (!status || status->ok()) return;  // Leases come through Deliver.
    if (const auto failed = TakePoll(device, raw)) failed->Finish(rpc::ToGrpc(*status));
  });
  return poll.get();
}

std::shared_ptr<PollReactor> AgentService::TakePoll(DeviceId device, const PollReactor* poll) {
  absl::MutexLock lock(&mutex_);
  const auto it = polls_.find(device);
  if (it == polls_.end() || (poll && it->second.get() != poll)) return nullptr;
  auto taken = std::move(it->second);
  polls_.erase(it);
  return taken;
}

void AgentService::Deliver(const std::vector<core::Lease>& leases) {
  std::map<DeviceId, std::vector<const core::Lease*>> by_device;
  for (const core::Lease& lease : leases) by_device[lease.device].push_back(&lease);
  for (const auto& [device, its_leases] : by_device) {
    std::set<JobId> ticketed;
    // Grants exist before the poll is looked for: a device that has gone gets the same leases with
    // its next poll.
    std::vector<std::pair<const core::Lease*, std::shared_ptr<const JobInfo>>> granted;
    for (const core::Lease* lease : its_leases) {
      const auto job = grants_->Job(lease->shard.job);
      if (!job.ok()) {
        spdlog::error("job {}: {}", lease->shard.job.value, job.status().ToString());
        continue;
      }
      grants_->Add(*lease, *job);
      granted.emplace_back(lease, *job);
    }
    const auto poll = TakePoll(device, nullptr);
    if (!poll) continue;
    for (const auto& [lease, job] : granted) {
      if (ticketed.insert(lease->shard.job).second) FillTicket(*job, poll->response()->add_jobs());
      pb::Lease* out = poll->response()->add_leases();
      out->set_attempt_id(lease->attempt.value);
      out->set_job_id(lease->shard.job.value);
      out->set_shard(lease->shard.index);
      out->set_token(lease->token);
      out->set_ttl_ms(static_cast<uint32_t>(config_.lease_ttl_ms()));
      out->set_careful(lease->careful);
      if (lease->checkpoint) out->set_checkpoint_hash(std::string(lease->checkpoint->Raw()));
    }
    poll->Finish(grpc::Status::OK);
  }
}

void AgentService::EndOldPolls() {
  const int64_t now_ms = clock_->MonotonicMs();
  std::vector<std::pair<DeviceId, const PollReactor*>> old;
  {
    absl::MutexLock lock(&mutex_);
    for (const auto& [device, poll] : polls_) {
      if (poll->deadline_ms() <= now_ms) old.emplace_back(device, poll.get());
    }
  }
  for (const auto& [device, poll] : old) {
    // The core hears first, so that no lease is made for a poll that was answered with none.
    loop_->Submit(core::StopPolling{device},
                  [this, device = device, poll = poll](const core::Reply&) {
                    if (const auto ended = TakePoll(device, poll)) ended->Finish(grpc::Status::OK);
                  });
  }
}

void AgentService::FailPolls(const absl::Status& status) {
  std::map<DeviceId, std::shared_ptr<PollReactor>> polls;
  {
    absl::MutexLock lock(&mutex_);
    polls = std::exchange(polls_, {});
  }
  for (const auto& [device, poll] : polls) poll->Finish(rpc::ToGrpc(status));
}

grpc::Status AgentService::Heartbeat(grpc::ServerContext* context,
                                     const pb::HeartbeatRequest* request,
                                     pb::HeartbeatResponse* response) {
  const auto agent = authenticator_->AuthenticateAgent(*context);
  if (!agent.ok()) return rpc::ToGrpc(agent.status());
  core::Heartbeat command{
      .device = agent->device, .power = ToPower(request->power()), .attempts = {}};
  for (const pb::AttemptProgress& progress : request->attempts()) {
    command.attempts.push_back({AttemptId{progress.attempt_id()}, progress.fraction()});
  }
  const auto stops = loop_->Call<std::vector<core::Stop>>(std::move(command));
  if (!stops.ok()) return rpc::ToGrpc(stops.status());
  for (const core::Stop& stop : *stops) {
    pb::HeartbeatResponse::Stop* out = response->add_stop();
    out->set_attempt_id(stop.attempt.value);
    out->set_reason(stop.reason);
    out->set_give_back(stop.give_back);
  }
  return grpc::Status::OK;
}

core::HandedIn AgentService::CheckResult(const AgentIdentity& agent,
                                         const pb::Result& result) const {
  core::HandedIn in;
  in.row.attempt = AttemptId{result.attempt_id()};
  in.lease_token = result.lease_token();
  auto row = ParseResult(result);
  const auto grant = grants_->Find(in.row.attempt);
  if (!row.ok() || !grant.ok()) {
    in.proof = core::Proof::kBadSignature;  // Of an attempt that ended the core knows more.
    return in;
  }
  in.row = *std::move(row);
  const job::ResultStatement statement{.grid_id = loop_->grid_id(),
                                       .device = agent.device,
                                       .shard = grant->shard,
                                       .attempt = in.row.attempt,
                                       .lease_token = grant->token,
                                       .bundle = grant->job->row.bundle_hash,
                                       .spec = grant->job->row.spec_hash,
                                       .result_key = in.row.result.Key()};
  const auto key = crypto::PublicKey::FromRaw(agent.public_key);
  if (!key.ok() || !crypto::Verify(*key, statement.Encode(), in.row.signature).ok()) {
    in.proof = core::Proof::kBadSignature;
  } else if (!BytesAreStaged(*grant, in.row.result)) {
    in.proof = core::Proof::kBytesMissing;
  }
  return in;
}

grpc::Status AgentService::SubmitResult(grpc::ServerContext* context,
                                        const pb::SubmitResultRequest* request,
                                        pb::SubmitResultResponse* response) {
  const auto agent = authenticator_->AuthenticateAgent(*context);
  if (!agent.ok()) return rpc::ToGrpc(agent.status());
  if (static_cast<size_t>(request->results_size()) > kMaxResults) {
    return {grpc::StatusCode::INVALID_ARGUMENT,
            fmt::format("more than {} results in one call", kMaxResults)};
  }
  core::SubmitResults command{.device = agent->device, .results = {}};
  command.results.reserve(static_cast<size_t>(request->results_size()));
  for (const pb::Result& result : request->results())
    command.results.push_back(CheckResult(*agent, result));
  const auto verdicts = loop_->Call<std::vector<core::Verdict>>(std::move(command));
  if (!verdicts.ok()) return rpc::ToGrpc(verdicts.status());
  for (const core::Verdict& verdict : *verdicts) {
    pb::SubmitResultResponse::Verdict* out = response->add_verdicts();
    out->set_attempt_id(verdict.attempt.value);
    out->set_accepted(verdict.accepted);
    out->set_reason(verdict.reason);
  }
  return grpc::Status::OK;
}

grpc::Status AgentService::ReportCheckpoint(grpc::ServerContext* context,
                                            const pb::ReportCheckpointRequest* request,
                                            pb::ReportCheckpointResponse*) {
  const auto agent = authenticator_->AuthenticateAgent(*context);
  if (!agent.ok()) return rpc::ToGrpc(agent.status());
  const AttemptId attempt{request->attempt_id()};
  const auto grant = grants_->Check(attempt, agent->device, request->lease_token());
  if (!grant.ok()) return rpc::ToGrpc(grant.status());
  const auto hash = crypto::Hash::FromRaw(request->state().hash());
  if (!hash.ok()) return rpc::ToGrpc(hash.status());
  const auto staged = grant->staged.find(request->state().name());
  if (!IsStateName(request->state().name()) || staged == grant->staged.end() ||
      staged->second != objects::ObjectRef{*hash, request->state().size_bytes()}) {
    return {grpc::StatusCode::FAILED_PRECONDITION,
            "the checkpoint's bytes are not staged with this name and hash"};
  }
  // The bytes are durable where they are staged: they are there before they are named, and the
  // older ones go after they are named no more.
  absl::Status status =
      loop_->CallStatus(core::ReportCheckpoint{.device = agent->device,
                                               .attempt = attempt,
                                               .lease_token = request->lease_token(),
                                               .state = *hash});
  for (const std::string_view name : kStateNames) {
    if (status.ok() && name != request->state().name()) {
      status = objects_->Discard(StateScope(attempt), name);
    }
  }
  return rpc::ToGrpc(status);
}

grpc::Status AgentService::ReportDeath(grpc::ServerContext* context,
                                       const pb::ReportDeathRequest* request,
                                       pb::ReportDeathResponse*) {
  const auto agent = authenticator_->AuthenticateAgent(*context);
  if (!agent.ok()) return rpc::ToGrpc(agent.status());
  if (static_cast<size_t>(request->attempts_size()) > kMaxHeld) {
    return {grpc::StatusCode::INVALID_ARGUMENT,
            fmt::format("more than {} attempts in one call", kMaxHeld)};
  }
  core::ReportDeath command{.device = agent->device, .attempts = {}};
  for (const auto& begun : request->attempts()) {
    command.attempts.push_back({AttemptId{begun.attempt_id()}, begun.lease_token()});
  }
  return rpc::ToGrpc(loop_->CallStatus(std::move(command)));
}

}  // namespace corpgrid::scheduler
