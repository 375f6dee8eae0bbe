#include "scheduler/agent_service.h"

#include <algorithm>
#include <set>
#include <utility>

#include "crypto/hash.h"
#include "fmt/format.h"
#include "rpc/status.h"
#include "scheduler/agent_messages.h"
#include "scheduler/result_check.h"
#include "spdlog/spdlog.h"

namespace corpgrid::scheduler {
namespace pb = corpgrid::v1;

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

grpc::ServerUnaryReactor* AgentService::RegisterAgent(grpc::CallbackServerContext* context,
                                                      const pb::RegisterAgentRequest* request,
                                                      pb::RegisterAgentResponse* response) {
  // It authenticates by its signature: whoever made it holds the device's key.
  auto command = CheckRegistration(*request, known_programs_);
  auto* reactor = context->DefaultReactor();
  const rpc::ProtocolRange theirs = rpc::CallersProtocol(*context);
  rpc::TellProtocol(context);
  const absl::Status status = command.ok() ? CheckProtocol(*request, theirs) : command.status();
  if (!status.ok()) {
    reactor->Finish(rpc::ToGrpc(status));
    return reactor;
  }
  command->device.protocol = theirs.newest;
  loop_->Ask<core::Registered>(
      *std::move(command),
      [this, reactor, request, response](const absl::StatusOr<core::Registered>& registered) {
        if (registered.ok()) FillRegistration(*request, *registered, response);
        reactor->Finish(rpc::ToGrpc(registered.status()));
      });
  return reactor;
}

// Its agent asks again and again: the log tells of it once.
absl::Status AgentService::CheckProtocol(const pb::RegisterAgentRequest& request,
                                         const rpc::ProtocolRange& theirs) {
  const absl::StatusOr<uint32_t> agreed = rpc::AgreeOnProtocol(rpc::OurProtocol(), "agent", theirs);
  absl::MutexLock lock(&mutex_);
  if (agreed.ok()) {
    refused_.erase(request.public_key());
  } else if (refused_.size() < kMaxRefusedNoted && refused_.insert(request.public_key()).second) {
    spdlog::warn("device \"{}\" (version {}) cannot register: {}", request.info().name(),
                 request.info().version(), std::string(agreed.status().message()));
  }
  return agreed.status();
}

void AgentService::FillRegistration(const pb::RegisterAgentRequest& request,
                                    const core::Registered& registered,
                                    pb::RegisterAgentResponse* response) {
  response->set_grid_id(loop_->grid_id());
  response->set_device_id(registered.device.value);
  response->set_owner(registered.owner);
  response->set_session(sessions_->Open({registered.device, request.public_key()}));
  response->set_heartbeat_ms(static_cast<uint32_t>(config_.heartbeat_ms));
  response->set_lease_ttl_ms(static_cast<uint32_t>(config_.lease_ttl_ms()));
  response->set_batch_signatures(true);
  spdlog::info("device {} \"{}\" of {} is here, version {}", registered.device.value,
               request.info().name(), registered.owner, request.info().version());
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
                     .condition = ToCondition(request->condition()),
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

grpc::ServerUnaryReactor* AgentService::Heartbeat(grpc::CallbackServerContext* context,
                                                  const pb::HeartbeatRequest* request,
                                                  pb::HeartbeatResponse* response) {
  const auto agent = authenticator_->AuthenticateAgent(*context);
  auto* reactor = context->DefaultReactor();
  if (!agent.ok()) {
    reactor->Finish(rpc::ToGrpc(agent.status()));
    return reactor;
  }
  core::Heartbeat command{
      .device = agent->device, .condition = ToCondition(request->condition()), .attempts = {}};
  for (const pb::AttemptProgress& progress : request->attempts()) {
    command.attempts.push_back({AttemptId{progress.attempt_id()}, progress.fraction()});
  }
  loop_->Ask<std::vector<core::Stop>>(
      std::move(command),
      [reactor, response](const absl::StatusOr<std::vector<core::Stop>>& stops) {
        if (stops.ok()) FillStops(*stops, response);
        reactor->Finish(rpc::ToGrpc(stops.status()));
      },
      CoreLoop::Haste::kSoon);
  return reactor;
}

grpc::ServerUnaryReactor* AgentService::SubmitResult(grpc::CallbackServerContext* context,
                                                     const pb::SubmitResultRequest* request,
                                                     pb::SubmitResultResponse* response) {
  const auto agent = authenticator_->AuthenticateAgent(*context);
  auto* reactor = context->DefaultReactor();
  if (!agent.ok() || static_cast<size_t>(request->results_size()) > kMaxResults) {
    reactor->Finish(agent.ok()
                        ? grpc::Status(grpc::StatusCode::INVALID_ARGUMENT,
                                       fmt::format("more than {} results in one call", kMaxResults))
                        : rpc::ToGrpc(agent.status()));
    return reactor;
  }
  loop_->Ask<std::vector<core::Verdict>>(
      core::SubmitResults{.device = agent->device,
                          .results = CheckResults(loop_->grid_id(), *grants_, *agent, *request)},
      [reactor, response](const absl::StatusOr<std::vector<core::Verdict>>& verdicts) {
        if (verdicts.ok()) FillVerdicts(*verdicts, response);
        reactor->Finish(rpc::ToGrpc(verdicts.status()));
      });
  return reactor;
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
