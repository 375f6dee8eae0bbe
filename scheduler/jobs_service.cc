#include "scheduler/jobs_service.h"

#include <algorithm>
#include <map>
#include <utility>

#include "base/status_macros.h"
#include "base/text.h"
#include "base/version.h"
#include "crypto/signature.h"
#include "fmt/format.h"
#include "rpc/protocol.h"
#include "rpc/status.h"
#include "scheduler/grants.h"
#include "scheduler/job_messages.h"
#include "scheduler/join_token.h"
#include "store/schema.h"

namespace corpgrid::scheduler {
namespace pb = corpgrid::v1;
namespace {

constexpr uint64_t kMaxSpecBytes = 32 << 20;

bool Ended(const core::JobProgressRow& progress) {
  return progress.state != core::JobState::kQueued && progress.state != core::JobState::kRunning;
}

absl::Status NoSuchJob(JobId id) {
  return absl::NotFoundError(fmt::format("no job {}; `corpgrid job list` shows them", id.value));
}

}  // namespace

grpc::Status JobsService::GridInfo(grpc::ServerContext* context, const pb::GridInfoRequest*,
                                   pb::GridInfoResponse* response) {
  if (const auto who = authenticator_->AuthenticatePerson(*context); !who.ok())
    return rpc::ToGrpc(who);
  rpc::TellProtocol(context);
  response->set_grid_id(loop_->grid_id());
  response->set_version(kVersion);
  response->set_oldest_protocol(rpc::OurProtocol().oldest);
  response->set_newest_protocol(rpc::OurProtocol().newest);
  response->set_schema_version(store::SchemaVersion());
  return grpc::Status::OK;
}

absl::StatusOr<std::string> JobsService::ReadSpec(const objects::ObjectRef& object) {
  if (object.size_bytes > kMaxSpecBytes) {
    return absl::InvalidArgumentError(
        fmt::format("the spec is larger than {}", FormatBytes(kMaxSpecBytes)));
  }
  return objects::ReadWhole(objects_, object.hash);
}

absl::StatusOr<core::SubmitJob> JobsService::CheckSubmission(const pb::SubmitRequest& request) {
  ASSIGN_OR_RETURN(const crypto::PublicKey key,
                   crypto::PublicKey::FromRaw(request.submitter_key()));
  ASSIGN_OR_RETURN(const auto objects, objects_->Staged(UploadScope(request.upload_id())));
  std::map<std::string, objects::ObjectRef> staged;
  for (const objects::StagedObject& object : objects) staged[object.name] = object.object;
  const auto spec_object = staged.find("spec");
  if (spec_object == staged.end()) {
    return absl::FailedPreconditionError(
        fmt::format("nothing is uploaded under \"{}\": upload \"spec\" and \"bundle\" first",
                    request.upload_id()));
  }
  ASSIGN_OR_RETURN(const std::string spec_bytes, ReadSpec(spec_object->second));
  ASSIGN_OR_RETURN(job::JobSpec spec, job::JobSpec::Decode(spec_bytes));
  if (spec->redundancy.validator == job::Validator::kProgram) {
    RETURN_IF_ERROR(validator_->Check());
  }
  const auto bundle = staged.find("bundle");
  const bool has_bundle = bundle != staged.end();
  const crypto::Hash bundle_hash = has_bundle ? bundle->second.hash : crypto::Blake3("");
  RETURN_IF_ERROR(crypto::Verify(
      key, job::JobStatement(loop_->grid_id(), bundle_hash, spec_object->second.hash),
      request.signature()));
  for (const job::Input& input : spec->inputs) {
    const auto it = staged.find("input/" + input.name);
    if (it == staged.end() || it->second != objects::ObjectRef{input.hash, input.size_bytes}) {
      return absl::FailedPreconditionError(fmt::format(
          "input \"{}\" is not uploaded with the hash that the spec names", input.name));
    }
  }
  return core::SubmitJob{.idempotency_key = request.idempotency_key(),
                         .spec = std::move(spec),
                         .spec_hash = spec_object->second.hash,
                         .bundle_hash = bundle_hash,
                         .bundle_bytes = has_bundle ? bundle->second.size_bytes : 0,
                         .submitter_key = request.submitter_key(),
                         .signature = request.signature()};
}

absl::Status JobsService::DoSubmit(const pb::SubmitRequest& request, pb::SubmitResponse* response) {
  if (request.idempotency_key().empty() || request.upload_id().empty()) {
    return absl::InvalidArgumentError("a submission needs an idempotency_key and an upload_id");
  }
  ASSIGN_OR_RETURN(core::Submitted submitted,
                   loop_->Call<core::Submitted>(core::FindJob{request.idempotency_key()}));
  if (!submitted.existed) {
    ASSIGN_OR_RETURN(core::SubmitJob command, CheckSubmission(request));
    ASSIGN_OR_RETURN(submitted, loop_->Call<core::Submitted>(std::move(command)));
  }
  // Also when the job existed: the call that made it may have ended before this step.
  const std::pair<std::string, std::string> keep{UploadScope(request.upload_id()),
                                                 JobOwner(submitted.job)};
  RETURN_IF_ERROR(objects_->Keep({&keep, 1}));
  response->set_job_id(submitted.job.value);
  response->set_existed(submitted.existed);
  return absl::OkStatus();
}

grpc::Status JobsService::Submit(grpc::ServerContext* context, const pb::SubmitRequest* request,
                                 pb::SubmitResponse* response) {
  if (const auto who = authenticator_->AuthenticatePerson(*context); !who.ok())
    return rpc::ToGrpc(who);
  return rpc::ToGrpc(DoSubmit(*request, response));
}

grpc::Status JobsService::List(grpc::ServerContext* context, const pb::ListJobsRequest* request,
                               pb::ListJobsResponse* response) {
  if (const auto who = authenticator_->AuthenticatePerson(*context); !who.ok())
    return rpc::ToGrpc(who);
  const uint32_t limit = request->limit() == 0 ? kMaxPage : std::min(request->limit(), kMaxPage);
  const auto rows = store_->Jobs(JobId{request->before_id()}, limit);
  if (!rows.ok()) return rpc::ToGrpc(rows.status());
  for (const core::JobRow& row : *rows) {
    const absl::Status status = FillJob(row.id, /*with_spec=*/false, response->add_jobs());
    if (absl::IsNotFound(status)) {  // removed meanwhile
      response->mutable_jobs()->RemoveLast();
    } else if (!status.ok()) {
      return rpc::ToGrpc(status);
    }
  }
  return grpc::Status::OK;
}

absl::Status JobsService::FillJob(JobId id, bool with_spec, pb::Job* out) {
  ASSIGN_OR_RETURN(const core::JobView view, loop_->Call<core::JobView>(core::ViewJob{id}));
  const auto row = store_->Job(id);
  if (!row.ok()) return absl::IsNotFound(row.status()) ? NoSuchJob(id) : row.status();
  ASSIGN_OR_RETURN(const job::JobSpec spec, job::JobSpec::Decode(row->spec));
  JobToMessage(*row, spec, view, out);
  if (with_spec) out->set_spec(row->spec);
  return absl::OkStatus();
}

grpc::Status JobsService::Get(grpc::ServerContext* context, const pb::GetJobRequest* request,
                              pb::Job* response) {
  if (const auto who = authenticator_->AuthenticatePerson(*context); !who.ok())
    return rpc::ToGrpc(who);
  return rpc::ToGrpc(FillJob(JobId{request->job_id()}, /*with_spec=*/true, response));
}

grpc::Status JobsService::Cancel(grpc::ServerContext* context, const pb::CancelJobRequest* request,
                                 pb::Job* response) {
  if (const auto who = authenticator_->AuthenticatePerson(*context); !who.ok())
    return rpc::ToGrpc(who);
  const JobId id{request->job_id()};
  if (const auto status = loop_->CallStatus(core::CancelJob{id}); !status.ok())
    return rpc::ToGrpc(status);
  return rpc::ToGrpc(FillJob(id, /*with_spec=*/false, response));
}

grpc::Status JobsService::Remove(grpc::ServerContext* context, const pb::RemoveJobRequest* request,
                                 pb::RemoveJobResponse*) {
  if (const auto who = authenticator_->AuthenticatePerson(*context); !who.ok())
    return rpc::ToGrpc(who);
  return rpc::ToGrpc(loop_->CallStatus(core::RemoveJob{JobId{request->job_id()}}));
}

grpc::Status JobsService::Why(grpc::ServerContext* context, const pb::WhyRequest* request,
                              pb::WhyResponse* response) {
  if (const auto who = authenticator_->AuthenticatePerson(*context); !who.ok())
    return rpc::ToGrpc(who);
  const JobId id{request->job_id()};
  const auto sentences = loop_->Call<std::vector<std::string>>(core::WhyJob{id});
  if (!sentences.ok()) return rpc::ToGrpc(sentences.status());
  const auto row = store_->Job(id);
  if (!row.ok()) return rpc::ToGrpc(absl::IsNotFound(row.status()) ? NoSuchJob(id) : row.status());
  if (Ended(row->progress)) response->add_sentences(EndSentence(*row));
  for (const std::string& sentence : *sentences) response->add_sentences(sentence);
  return grpc::Status::OK;
}

grpc::Status JobsService::Watch(grpc::ServerContext* context, const pb::GetJobRequest* request,
                                grpc::ServerWriter<pb::Job>* writer) {
  if (const auto who = authenticator_->AuthenticatePerson(*context); !who.ok())
    return rpc::ToGrpc(who);
  const JobId id{request->job_id()};
  std::string last;
  while (!context->IsCancelled() && !stopping_) {
    pb::Job job;
    if (const auto status = FillJob(id, /*with_spec=*/false, &job); !status.ok())
      return rpc::ToGrpc(status);
    if (std::string now = job.SerializeAsString(); now != last) {
      if (!writer->Write(job)) break;
      last = std::move(now);
    }
    if (job.finished_wall_ms() != 0) return grpc::Status::OK;
    watch_->Wait(id, kWatchMs);
  }
  return stopping_ ? grpc::Status(grpc::StatusCode::UNAVAILABLE, "the scheduler is stopping")
                   : grpc::Status::CANCELLED;
}

absl::Status JobsService::FillShards(const pb::ListShardsRequest& request,
                                     pb::ListShardsResponse* out) {
  const JobId id{request.job_id()};
  const uint32_t limit = request.limit() == 0 ? kMaxPage : std::min(request.limit(), kMaxPage);
  ASSIGN_OR_RETURN(const core::JobView view, loop_->Call<core::JobView>(core::ViewJob{id}));
  const auto row = store_->Job(id);
  if (!row.ok()) return absl::IsNotFound(row.status()) ? NoSuchJob(id) : row.status();
  ASSIGN_OR_RETURN(const job::JobSpec spec, job::JobSpec::Decode(row->spec));
  const uint32_t end = static_cast<uint32_t>(
      std::min<uint64_t>(spec->shards, static_cast<uint64_t>(request.first()) + limit));
  if (request.first() >= end) return absl::OkStatus();
  ASSIGN_OR_RETURN(const auto shards, store_->Shards(id, request.first(), end - request.first()));
  ASSIGN_OR_RETURN(const auto attempts, store_->Attempts(id, request.first(), end - 1));
  ASSIGN_OR_RETURN(const auto devices,
                   loop_->Call<std::vector<core::DeviceView>>(core::ViewDevices{}));
  std::map<DeviceId, std::string> names;
  for (const core::DeviceView& device : devices) names[device.row.id] = device.row.name;
  std::map<AttemptId, double> progress;
  for (const core::RunningAttempt& running : view.running)
    progress[running.attempt] = running.fraction;
  for (uint32_t i = request.first(); i < end; ++i) out->add_shards()->set_index(i);
  for (pb::Shard& shard : *out->mutable_shards()) shard.set_state("queued");
  for (const core::ShardRow& shard : shards) {
    if (shard.id.index < end) {
      ShardToMessage(shard,
                     out->mutable_shards(static_cast<int>(shard.id.index - request.first())));
    }
  }
  if (Ended(row->progress)) {
    // The rows of shards that the end of their job cut short stay as they were.
    for (pb::Shard& shard : *out->mutable_shards()) {
      if (shard.state() == "queued" || shard.state() == "running") shard.set_state("cancelled");
    }
  }
  for (const store::AttemptRecord& record : attempts) {
    pb::Shard* shard =
        out->mutable_shards(static_cast<int>(record.attempt.shard.index - request.first()));
    const auto fraction = progress.find(record.attempt.id);
    AttemptToMessage(record, names[record.attempt.device],
                     fraction == progress.end() ? -1 : fraction->second, shard);
  }
  return absl::OkStatus();
}

grpc::Status JobsService::ListShards(grpc::ServerContext* context,
                                     const pb::ListShardsRequest* request,
                                     pb::ListShardsResponse* response) {
  if (const auto who = authenticator_->AuthenticatePerson(*context); !who.ok())
    return rpc::ToGrpc(who);
  return rpc::ToGrpc(FillShards(*request, response));
}

grpc::Status JobsService::Logs(grpc::ServerContext* context, const pb::LogsRequest* request,
                               pb::LogsResponse* response) {
  if (const auto who = authenticator_->AuthenticatePerson(*context); !who.ok())
    return rpc::ToGrpc(who);
  const auto record = store_->Attempt(AttemptId{request->attempt_id()});
  if (!record.ok()) return rpc::ToGrpc(record.status());
  if (!record->result) {
    return {grpc::StatusCode::FAILED_PRECONDITION,
            fmt::format("attempt {} has handed in nothing (yet): logs come with the result",
                        request->attempt_id())};
  }
  response->set_stdout_tail(record->result->stdout_tail);
  response->set_stderr_tail(record->result->stderr_tail);
  return grpc::Status::OK;
}

grpc::Status JobsService::ListDevices(grpc::ServerContext* context, const pb::ListDevicesRequest*,
                                      pb::ListDevicesResponse* response) {
  if (const auto who = authenticator_->AuthenticatePerson(*context); !who.ok())
    return rpc::ToGrpc(who);
  const auto devices = loop_->Call<std::vector<core::DeviceView>>(core::ViewDevices{});
  if (!devices.ok()) return rpc::ToGrpc(devices.status());
  for (const core::DeviceView& device : *devices) DeviceToMessage(device, response->add_devices());
  return grpc::Status::OK;
}

grpc::Status JobsService::DeviceWhy(grpc::ServerContext* context,
                                    const pb::DeviceWhyRequest* request,
                                    pb::WhyResponse* response) {
  if (const auto who = authenticator_->AuthenticatePerson(*context); !who.ok())
    return rpc::ToGrpc(who);
  const auto sentences =
      loop_->Call<std::vector<std::string>>(core::WhyDevice{DeviceId{request->device_id()}});
  if (!sentences.ok()) return rpc::ToGrpc(sentences.status());
  for (const std::string& sentence : *sentences) response->add_sentences(sentence);
  return grpc::Status::OK;
}

grpc::Status JobsService::DrainDevice(grpc::ServerContext* context,
                                      const pb::DrainDeviceRequest* request,
                                      pb::DrainDeviceResponse* response) {
  if (const auto who = authenticator_->AuthenticatePerson(*context); !who.ok())
    return rpc::ToGrpc(who);
  const DeviceId id{request->device_id()};
  const absl::Status drained = loop_->CallStatus(
      core::DrainDevice{.device = id, .drained = !request->undo(), .now = request->now()});
  if (!drained.ok()) return rpc::ToGrpc(drained);
  const auto devices = loop_->Call<std::vector<core::DeviceView>>(core::ViewDevices{});
  if (!devices.ok()) return rpc::ToGrpc(devices.status());
  for (const core::DeviceView& device : *devices) {
    if (device.row.id == id) response->set_attempts_running(device.leases);
  }
  return grpc::Status::OK;
}

grpc::Status JobsService::TrustDevice(grpc::ServerContext* context,
                                      const pb::TrustDeviceRequest* request,
                                      pb::TrustDeviceResponse*) {
  if (const auto who = authenticator_->AuthenticatePerson(*context); !who.ok())
    return rpc::ToGrpc(who);
  return rpc::ToGrpc(loop_->CallStatus(
      core::TrustDevice{.device = DeviceId{request->device_id()}, .trusted = !request->undo()}));
}

grpc::Status JobsService::CreateJoinToken(grpc::ServerContext* context,
                                          const pb::CreateJoinTokenRequest* request,
                                          pb::CreateJoinTokenResponse* response) {
  if (const auto who = authenticator_->AuthenticatePerson(*context); !who.ok())
    return rpc::ToGrpc(who);
  if (request->owner().empty() || request->owner().size() > 100 ||
      request->idempotency_key().empty()) {
    return {grpc::StatusCode::INVALID_ARGUMENT,
            "a join token needs an owner (1-100 bytes) and an idempotency_key"};
  }
  // The same key gives the same secret, so that a repeated call needs no stored one.
  const std::string token = JoinToken(crypto::KeyedBlake3(join_key_, request->idempotency_key()));
  const auto secret = JoinSecretHash(token);
  if (!secret.ok()) return rpc::ToGrpc(secret.status());
  const absl::Status made =
      loop_->CallStatus(core::CreateJoinToken{{.secret_hash = *secret,
                                               .owner = request->owner(),
                                               .uses_left = std::max(request->uses(), 1u),
                                               .idempotency_key = request->idempotency_key()}});
  if (made.ok()) response->set_token(token);
  return rpc::ToGrpc(made);
}

}  // namespace corpgrid::scheduler
