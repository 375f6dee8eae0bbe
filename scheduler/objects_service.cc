#include "scheduler/objects_service.h"

#include <algorithm>
#include <deque>
#include <memory>
#include <utility>
#include <vector>

#include "base/status_macros.h"
#include "base/text.h"
#include "fmt/format.h"
#include "rpc/status.h"

namespace corpgrid::scheduler {
namespace pb = corpgrid::v1;

absl::StatusOr<ObjectsService::Target> ObjectsService::AuthenticateUpload(
    const grpc::ServerContextBase& context, const pb::Grant& grant, const std::string& name) const {
  if (name.empty() || name.size() > 4096)
    return absl::InvalidArgumentError("an upload needs a name of 1-4096 bytes");
  if (grant.attempt_id() == 0) {
    RETURN_IF_ERROR(authenticator_->AuthenticatePerson(context));
    if (grant.upload_id().empty())
      return absl::InvalidArgumentError("an upload needs an upload_id");
    return Target{UploadScope(grant.upload_id()), AttemptId{}, kMaxUploadBytes};
  }
  ASSIGN_OR_RETURN(const AgentIdentity agent, authenticator_->AuthenticateAgent(context));
  const AttemptId attempt{grant.attempt_id()};
  ASSIGN_OR_RETURN(const Grant found, grants_->Check(attempt, agent.device, grant.lease_token()));
  const job::JobFields& spec = *found.job->spec;
  if (IsStateName(name)) {
    if (!spec.checkpoint) return absl::PermissionDeniedError("the job has no checkpoints");
    return Target{StateScope(attempt), attempt, spec.limits.disk_bytes};
  }
  const bool asked_for =
      std::any_of(spec.outputs.begin(), spec.outputs.end(), [&](const std::string& output) {
        return job::Expand(output, spec, found.shard.index) == name;
      });
  if (!asked_for)
    return absl::PermissionDeniedError(fmt::format("the job has no output \"{}\"", name));
  // All outputs of the attempt share one limit; what is being sent again does not count twice.
  uint64_t used = 0;
  for (const auto& [other, object] : found.staged) {
    used += other == name || IsStateName(other) ? 0 : object.size_bytes;
  }
  return Target{AttemptScope(attempt), attempt,
                spec.limits.output_bytes - std::min(used, spec.limits.output_bytes)};
}

// One Put stream. Small objects are gathered and staged together, so that they share a commit; a
// larger one is written as it comes.
class ObjectsService::PutCall {
 public:
  PutCall(ObjectsService* service, const grpc::ServerContext* context, pb::PutResponse* response)
      : service_(service), context_(context), response_(response) {}

  absl::Status Take(pb::PutRequest* message) {
    if (message->has_start()) RETURN_IF_ERROR(Start(message->start()));
    if (!open_) return absl::InvalidArgumentError("data without a start");
    RETURN_IF_ERROR(writer_ ? writer_->Append(message->data()) : Gather(message));
    return message->last() ? End() : absl::OkStatus();
  }

  absl::Status Finish() {
    if (open_)
      return absl::InvalidArgumentError(fmt::format("the upload of \"{}\" broke off", name_));
    return StageGathered();
  }

 private:
  struct Gathered {
    std::string scope;
    std::string name;
    std::string data;
    AttemptId attempt;
    int position = 0;  // in the response
  };
  static constexpr size_t kMaxGathered = 256;

  absl::Status Start(const pb::PutRequest::Start& start) {
    if (open_) return absl::InvalidArgumentError(fmt::format("\"{}\" is not complete", name_));
    ASSIGN_OR_RETURN(target_, service_->AuthenticateUpload(*context_, start.grant(), start.name()));
    name_ = start.name();
    open_ = true;
    data_.clear();
    if (target_.attempt) service_->grants_->Touch(target_.attempt);
    pb::StagedObject* object = response_->add_objects();
    object->set_attempt_id(target_.attempt.value);
    object->set_name(name_);
    return start.offset() > 0 ? OpenWriter(start.offset()) : absl::OkStatus();
  }

  absl::Status Gather(pb::PutRequest* message) {
    if (data_.size() + message->data().size() > target_.max_bytes) {
      return absl::ResourceExhaustedError(fmt::format("\"{}\" is larger than the {} that are left",
                                                      name_, FormatBytes(target_.max_bytes)));
    }
    if (data_.size() + message->data().size() <= objects::ObjectStore::kSmallBytes) {
      data_.append(message->data());
      return absl::OkStatus();
    }
    RETURN_IF_ERROR(OpenWriter(0));
    RETURN_IF_ERROR(writer_->Append(data_));
    return writer_->Append(message->data());
  }

  absl::Status OpenWriter(uint64_t offset) {
    // From the start means anew, whatever an earlier call left.
    if (offset == 0) RETURN_IF_ERROR(service_->objects_->Discard(target_.scope, name_));
    ASSIGN_OR_RETURN(writer_,
                     service_->objects_->OpenStaged(target_.scope, name_, target_.max_bytes));
    if (const uint64_t here = writer_->offset(); here != offset) {
      return absl::OutOfRangeError(
          fmt::format("\"{}\": {} bytes are here, not {}", name_, here, offset));
    }
    return absl::OkStatus();
  }

  absl::Status End() {
    open_ = false;
    if (!writer_) {
      gathered_.push_back(
          {target_.scope, name_, std::move(data_), target_.attempt, response_->objects_size() - 1});
      return gathered_.size() >= kMaxGathered ? StageGathered() : absl::OkStatus();
    }
    ASSIGN_OR_RETURN(const objects::ObjectRef object, writer_->Finish());
    writer_.reset();
    Report(response_->objects_size() - 1, target_.attempt, name_, object);
    return absl::OkStatus();
  }

  absl::Status StageGathered() {
    if (gathered_.empty()) return absl::OkStatus();
    std::vector<objects::SmallObject> small;
    small.reserve(gathered_.size());
    for (const Gathered& g : gathered_) small.push_back({g.scope, g.name, g.data});
    ASSIGN_OR_RETURN(const std::vector<objects::ObjectRef> refs,
                     service_->objects_->StageSmall(small));
    for (size_t i = 0; i < gathered_.size(); ++i) {
      Report(gathered_[i].position, gathered_[i].attempt, gathered_[i].name, refs[i]);
    }
    gathered_.clear();
    return absl::OkStatus();
  }

  void Report(int position, AttemptId attempt, const std::string& name,
              const objects::ObjectRef& object) {
    pb::StagedObject* out = response_->mutable_objects(position);
    out->set_hash(std::string(object.hash.Raw()));
    out->set_size_bytes(object.size_bytes);
    if (attempt) service_->grants_->RecordStaged(attempt, name, object);
  }

  ObjectsService* const service_;
  const grpc::ServerContext* const context_;
  pb::PutResponse* const response_;
  std::vector<Gathered> gathered_;
  // Of the object that is coming in:
  bool open_ = false;
  Target target_;
  std::string name_;
  std::string data_;
  std::unique_ptr<objects::StagedWriter> writer_;
};

grpc::Status ObjectsService::Put(grpc::ServerContext* context,
                                 grpc::ServerReader<pb::PutRequest>* reader,
                                 pb::PutResponse* response) {
  // Each upload of the stream authenticates on its own (AuthenticateUpload).
  PutCall call(this, context, response);
  pb::PutRequest message;
  while (reader->Read(&message)) {
    if (const absl::Status status = call.Take(&message); !status.ok()) return rpc::ToGrpc(status);
  }
  return rpc::ToGrpc(call.Finish());
}

grpc::Status ObjectsService::Staged(grpc::ServerContext* context, const pb::StagedRequest* request,
                                    pb::StagedResponse* response) {
  const auto target = AuthenticateUpload(*context, request->grant(), request->name());
  if (!target.ok()) return rpc::ToGrpc(target.status());
  const auto staged = objects_->Staged(target->scope);
  if (!staged.ok()) return rpc::ToGrpc(staged.status());
  for (const objects::StagedObject& object : *staged) {
    if (object.name != request->name()) continue;
    response->mutable_object()->set_hash(std::string(object.object.hash.Raw()));
    response->mutable_object()->set_size_bytes(object.object.size_bytes);
    return grpc::Status::OK;
  }
  const auto offset = objects_->StagedBytes(target->scope, request->name());
  if (!offset.ok()) return rpc::ToGrpc(offset.status());
  response->mutable_object()->set_size_bytes(*offset);
  return grpc::Status::OK;
}

grpc::Status ObjectsService::Get(grpc::ServerContext* context, const pb::GetRequest* request,
                                 grpc::ServerWriter<pb::GetResponse>* writer) {
  const auto hash = crypto::Hash::FromRaw(request->hash());
  if (request->grant().attempt_id() == 0) {
    if (const absl::Status status = authenticator_->AuthenticatePerson(*context); !status.ok()) {
      return rpc::ToGrpc(status);
    }
  } else {
    const auto agent = authenticator_->AuthenticateAgent(*context);
    if (!agent.ok()) return rpc::ToGrpc(agent.status());
    const auto grant = grants_->Check(AttemptId{request->grant().attempt_id()}, agent->device,
                                      request->grant().lease_token());
    if (!grant.ok()) return rpc::ToGrpc(grant.status());
    if (!hash.ok() || !grant->MayRead(*hash)) {
      return {grpc::StatusCode::PERMISSION_DENIED, "the grant does not cover this object"};
    }
  }
  if (!hash.ok()) return rpc::ToGrpc(hash.status());
  const auto reader = objects_->Open(*hash, request->offset());
  if (!reader.ok()) return rpc::ToGrpc(reader.status());
  pb::GetResponse part;
  part.set_total_bytes((*reader)->size_bytes());
  while (true) {
    auto data = (*reader)->Next();
    if (!data.ok()) return rpc::ToGrpc(data.status());
    if (data->empty() && part.total_bytes() == 0) return grpc::Status::OK;
    part.set_data(*std::move(data));
    if (!writer->Write(part)) return grpc::Status::CANCELLED;
    part.Clear();
  }
}

}  // namespace corpgrid::scheduler
