#include "agent/scheduler_client.h"

#include <spdlog/spdlog.h>

#include <utility>

#include "base/status_macros.h"
#include "rpc/connect.h"
#include "rpc/status.h"

namespace corpgrid::agent {
namespace {

constexpr int64_t kCallDeadlineMs = 10'000;

rpc::ObjectsClient::CallHook CancelWith(StopSignal* signal) {
  return [signal](grpc::ClientContext* context) {
    return std::make_shared<StopSignal::Scope>(signal, context);
  };
}

}  // namespace

RemoteScheduler::RemoteScheduler(corpgrid::v1::Scheduler::StubInterface* scheduler,
                                 corpgrid::v1::Objects::StubInterface* objects,
                                 corpgrid::v1::Audit::StubInterface* audit, Registrar* registrar,
                                 ConditionFunction condition, StopSignal* stop, StopSignal* abort)
    : scheduler_(scheduler),
      objects_(objects),
      audit_(audit),
      registrar_(registrar),
      condition_(std::move(condition)),
      stop_(stop),
      abort_(abort) {}

absl::StatusOr<std::shared_ptr<const Registration>> RemoteScheduler::CurrentRegistration() {
  absl::StatusOr<std::shared_ptr<const Registration>> registration = registrar_->Current();
  // One that was in force already says nothing about the scheduler.
  if (!registration.ok()) NoteReachable(registration.status());
  return registration;
}

absl::Status RemoteScheduler::InSession(
    const std::function<absl::Status(const Registration&)>& call) {
  ASSIGN_OR_RETURN(const std::shared_ptr<const Registration> registration, CurrentRegistration());
  absl::Status status = call(*registration);
  if (absl::IsUnauthenticated(status)) registrar_->Lost(*registration);
  NoteReachable(status);
  return status;
}

absl::Status RemoteScheduler::Unary(int64_t deadline_ms, StopSignal* signal,
                                    const std::function<grpc::Status(grpc::ClientContext*)>& call) {
  return InSession([&](const Registration& registration) {
    grpc::ClientContext context;
    rpc::PrepareCall(&context, deadline_ms, rpc::kSessionKey, registration.session);
    StopSignal::Scope scope(signal, &context);
    return rpc::FromGrpc(call(&context));
  });
}

void RemoteScheduler::NoteReachable(const absl::Status& status) {
  if (stop_->stopped()) return;
  const bool reachable = !absl::IsUnavailable(status) && !absl::IsDeadlineExceeded(status);
  if (reachable_.exchange(reachable) == reachable) return;
  if (reachable) {
    spdlog::info("the scheduler is back");
  } else {
    spdlog::warn("lost the scheduler, trying again: {}", std::string(status.message()));
  }
}

absl::StatusOr<corpgrid::v1::PollJobsResponse> RemoteScheduler::Poll(
    corpgrid::v1::PollJobsRequest request) {
  *request.mutable_condition() = condition_();
  corpgrid::v1::PollJobsResponse reply;
  RETURN_IF_ERROR(Unary(request.wait_ms() + kCallDeadlineMs, stop_, [&](auto* context) {
    return scheduler_->PollJobs(context, request, &reply);
  }));
  return reply;
}

absl::StatusOr<corpgrid::v1::HeartbeatResponse> RemoteScheduler::Heartbeat(
    corpgrid::v1::HeartbeatRequest request) {
  *request.mutable_condition() = condition_();
  corpgrid::v1::HeartbeatResponse reply;
  RETURN_IF_ERROR(Unary(kCallDeadlineMs, stop_, [&](auto* context) {
    return scheduler_->Heartbeat(context, request, &reply);
  }));
  return reply;
}

absl::StatusOr<corpgrid::v1::SubmitResultResponse> RemoteScheduler::Submit(
    corpgrid::v1::SubmitResultRequest request) {
  *request.mutable_condition() = condition_();
  corpgrid::v1::SubmitResultResponse reply;
  RETURN_IF_ERROR(Unary(kCallDeadlineMs, abort_, [&](auto* context) {
    return scheduler_->SubmitResult(context, request, &reply);
  }));
  return reply;
}

absl::Status RemoteScheduler::ReportCheckpoint(const Attempt& attempt,
                                               const corpgrid::v1::OutputRef& state) {
  corpgrid::v1::ReportCheckpointRequest request;
  *request.mutable_condition() = condition_();
  request.set_attempt_id(attempt.id.value);
  request.set_lease_token(attempt.lease_token);
  *request.mutable_state() = state;
  corpgrid::v1::ReportCheckpointResponse reply;
  return Unary(kCallDeadlineMs, abort_, [&](auto* context) {
    return scheduler_->ReportCheckpoint(context, request, &reply);
  });
}

absl::Status RemoteScheduler::ReportDeath(std::span<const BegunAttempt> attempts) {
  corpgrid::v1::ReportDeathRequest request;
  *request.mutable_condition() = condition_();
  for (const BegunAttempt& attempt : attempts) {
    auto* begun = request.add_attempts();
    begun->set_attempt_id(attempt.id.value);
    begun->set_lease_token(attempt.lease_token);
  }
  corpgrid::v1::ReportDeathResponse reply;
  return Unary(kCallDeadlineMs, stop_,
               [&](auto* context) { return scheduler_->ReportDeath(context, request, &reply); });
}

absl::StatusOr<corpgrid::v1::CheckpointResponse> RemoteScheduler::LogCheckpoint(uint64_t old_size) {
  corpgrid::v1::CheckpointRequest request;
  request.set_old_size(old_size);
  corpgrid::v1::CheckpointResponse reply;
  RETURN_IF_ERROR(Unary(kCallDeadlineMs, stop_, [&](auto* context) {
    return audit_->Checkpoint(context, request, &reply);
  }));
  return reply;
}

absl::Status RemoteScheduler::Fetch(const Attempt& attempt, const crypto::Hash& hash,
                                    uint64_t max_bytes, const Sink& sink) {
  return InSession([&](const Registration& registration) {
    rpc::ObjectsClient client(objects_, rpc::kSessionKey, registration.session, CancelWith(stop_));
    return client.Get(attempt.Grant(), hash, max_bytes, sink);
  });
}

absl::StatusOr<std::vector<corpgrid::v1::StagedObject>> RemoteScheduler::Put(
    std::span<const rpc::ObjectsClient::Upload> uploads) {
  std::vector<corpgrid::v1::StagedObject> staged;
  RETURN_IF_ERROR(InSession([&](const Registration& registration) {
    rpc::ObjectsClient client(objects_, rpc::kSessionKey, registration.session, CancelWith(abort_));
    ASSIGN_OR_RETURN(staged, client.Put(uploads));
    return absl::OkStatus();
  }));
  return staged;
}

}  // namespace corpgrid::agent
