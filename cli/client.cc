#include "cli/client.h"

#include <signal.h>

#include <cerrno>

#include "base/status_macros.h"
#include "cli/client_connection.h"
#include "cli/data_folder.h"
#include "cli/patience.h"
#include "fmt/format.h"
#include "rpc/connect.h"
#include "rpc/protocol.h"
#include "rpc/status.h"

namespace corpgrid::cli {
namespace {

namespace v1 = corpgrid::v1;

constexpr int64_t kCallDeadlineMs = 30'000;

}  // namespace

Client::Client(std::string data_folder)
    : data_folder_(std::move(data_folder)), connection_(std::make_unique<Connection>()) {}
Client::~Client() = default;

absl::StatusOr<std::unique_ptr<Client>> Client::Open(const std::string& data_folder) {
  std::unique_ptr<Client> client(new Client(data_folder));
  Connection& connection = *client->connection_;
  absl::StatusOr<rpc::GridFile> grid = rpc::GridFile::Read(data_folder);
  if (absl::IsNotFound(grid.status())) {
    return absl::UnavailableError(
        fmt::format("there is no grid in {}: start one with `corpgrid up`, or name its data folder "
                    "with --data",
                    data_folder));
  }
  ASSIGN_OR_RETURN(connection.grid, std::move(grid));
  ASSIGN_OR_RETURN(connection.channel, rpc::Connect(connection.grid.address));
  connection.jobs = v1::Jobs::NewStub(connection.channel);
  connection.objects = v1::Objects::NewStub(connection.channel);
  connection.audit = v1::Audit::NewStub(connection.channel);
  connection.projects = v1::Projects::NewStub(connection.channel);
  connection.models = v1::ModelHosting::NewStub(connection.channel);
  connection.transfer = std::make_unique<rpc::ObjectsClient>(connection.objects.get(),
                                                             rpc::kTokenKey, connection.grid.token);
  return client;
}

const std::string& Client::address() const { return connection_->grid.address; }
const std::string& Client::grid_id() const { return connection_->grid.grid_id; }
rpc::ObjectsClient& Client::objects() { return *connection_->transfer; }

absl::StatusOr<uint32_t> Client::Meet(int64_t patience_ms) {
  absl::MutexLock lock(&meeting_);
  if (protocol_ > 0) return protocol_;
  rpc::ProtocolRange scheduler;
  RETURN_IF_ERROR((CallUnmet<v1::GridInfoRequest, v1::GridInfoResponse>(
                       &v1::Jobs::Stub::GridInfo, {}, patience_ms, &scheduler))
                      .status());
  ASSIGN_OR_RETURN(protocol_, rpc::AgreeOnProtocol(scheduler, "command line", rpc::OurProtocol()));
  return protocol_;
}

absl::StatusOr<uint32_t> Client::Protocol() { return Meet(kChangePatienceMs); }

template <typename Request, typename Response, typename Method>
absl::StatusOr<Response> Client::Call(Method method, const Request& request, int64_t patience_ms) {
  RETURN_IF_ERROR(Meet(patience_ms).status());
  rpc::ProtocolRange scheduler;
  return CallUnmet<Request, Response>(method, request, patience_ms, &scheduler);
}

template <typename Request, typename Response, typename Method>
absl::StatusOr<Response> Client::CallUnmet(Method method, const Request& request,
                                           int64_t patience_ms, rpc::ProtocolRange* scheduler) {
  Patience patience(patience_ms);
  while (true) {
    grpc::ClientContext context;
    rpc::PrepareCall(&context, kCallDeadlineMs, rpc::kTokenKey, connection_->grid.token);
    Response response;
    const absl::Status status =
        rpc::FromGrpc((connection_->StubOf(method)->*method)(&context, request, &response));
    if (status.ok()) *scheduler = rpc::SchedulersProtocol(context);
    if (status.ok()) return response;
    if (absl::IsDeadlineExceeded(status)) return Unreachable(status);
    if (!absl::IsUnavailable(status)) return status;
    if (GridIsGone() || !patience.Wait()) return Unreachable(status);
  }
}

bool Client::GridIsGone() const {
  const absl::StatusOr<rpc::GridFile> grid = rpc::GridFile::Read(data_folder_);
  const bool dead =
      grid.ok() && grid->pid > 0 && kill(static_cast<pid_t>(grid->pid), 0) != 0 && errno == ESRCH;
  return dead && UpPid(data_folder_) == 0;
}

absl::Status Client::Unreachable(const absl::Status& status) const {
  if (GridIsGone()) {
    return absl::UnavailableError(
        fmt::format("the grid in {} is not running: start it with `corpgrid up{}`", data_folder_,
                    data_folder_ == DefaultDataFolder() ? "" : " --data " + data_folder_));
  }
  return absl::UnavailableError(fmt::format("the grid at {} does not answer ({}); its log: {}/logs",
                                            address(), std::string(status.message()),
                                            data_folder_));
}

absl::StatusOr<v1::GridInfoResponse> Client::GridInfo() {
  return Call<v1::GridInfoRequest, v1::GridInfoResponse>(&v1::Jobs::Stub::GridInfo, {},
                                                         kReadPatienceMs);
}

absl::StatusOr<v1::SubmitResponse> Client::Submit(const v1::SubmitRequest& request) {
  return Call<v1::SubmitRequest, v1::SubmitResponse>(&v1::Jobs::Stub::Submit, request,
                                                     kChangePatienceMs);
}

absl::StatusOr<v1::ListJobsResponse> Client::ListJobs(uint64_t before_id, uint32_t limit) {
  v1::ListJobsRequest request;
  request.set_before_id(before_id);
  request.set_limit(limit);
  return Call<v1::ListJobsRequest, v1::ListJobsResponse>(&v1::Jobs::Stub::List, request,
                                                         kReadPatienceMs);
}

absl::StatusOr<v1::Job> Client::GetJob(uint64_t job_id) {
  v1::GetJobRequest request;
  request.set_job_id(job_id);
  return Call<v1::GetJobRequest, v1::Job>(&v1::Jobs::Stub::Get, request, kReadPatienceMs);
}

absl::StatusOr<v1::Job> Client::CancelJob(uint64_t job_id) {
  v1::CancelJobRequest request;
  request.set_job_id(job_id);
  return Call<v1::CancelJobRequest, v1::Job>(&v1::Jobs::Stub::Cancel, request, kChangePatienceMs);
}

absl::Status Client::RemoveJob(uint64_t job_id) {
  v1::RemoveJobRequest request;
  request.set_job_id(job_id);
  return Call<v1::RemoveJobRequest, v1::RemoveJobResponse>(&v1::Jobs::Stub::Remove, request,
                                                           kChangePatienceMs)
      .status();
}

absl::StatusOr<v1::WhyResponse> Client::WhyJob(uint64_t job_id) {
  v1::WhyRequest request;
  request.set_job_id(job_id);
  return Call<v1::WhyRequest, v1::WhyResponse>(&v1::Jobs::Stub::Why, request, kReadPatienceMs);
}

absl::StatusOr<v1::ListShardsResponse> Client::ListShards(uint64_t job_id, uint32_t first,
                                                          uint32_t limit) {
  v1::ListShardsRequest request;
  request.set_job_id(job_id);
  request.set_first(first);
  request.set_limit(limit);
  return Call<v1::ListShardsRequest, v1::ListShardsResponse>(&v1::Jobs::Stub::ListShards, request,
                                                             kReadPatienceMs);
}

absl::StatusOr<v1::LogsResponse> Client::Logs(uint64_t attempt_id) {
  v1::LogsRequest request;
  request.set_attempt_id(attempt_id);
  return Call<v1::LogsRequest, v1::LogsResponse>(&v1::Jobs::Stub::Logs, request, kReadPatienceMs);
}

absl::StatusOr<v1::ListDevicesResponse> Client::ListDevices() {
  return Call<v1::ListDevicesRequest, v1::ListDevicesResponse>(&v1::Jobs::Stub::ListDevices, {},
                                                               kReadPatienceMs);
}

absl::StatusOr<v1::WhyResponse> Client::WhyDevice(uint64_t device_id) {
  v1::DeviceWhyRequest request;
  request.set_device_id(device_id);
  return Call<v1::DeviceWhyRequest, v1::WhyResponse>(&v1::Jobs::Stub::DeviceWhy, request,
                                                     kReadPatienceMs);
}

absl::StatusOr<v1::DrainDeviceResponse> Client::DrainDevice(const v1::DrainDeviceRequest& request) {
  return Call<v1::DrainDeviceRequest, v1::DrainDeviceResponse>(&v1::Jobs::Stub::DrainDevice,
                                                               request, kChangePatienceMs);
}

absl::Status Client::TrustDevice(const v1::TrustDeviceRequest& request) {
  return Call<v1::TrustDeviceRequest, v1::TrustDeviceResponse>(&v1::Jobs::Stub::TrustDevice,
                                                               request, kChangePatienceMs)
      .status();
}

absl::StatusOr<std::string> Client::CreateJoinToken(const std::string& owner, uint32_t uses,
                                                    const std::string& key) {
  v1::CreateJoinTokenRequest request;
  request.set_owner(owner);
  request.set_uses(uses);
  request.set_idempotency_key(key);
  ASSIGN_OR_RETURN(const v1::CreateJoinTokenResponse response,
                   (Call<v1::CreateJoinTokenRequest, v1::CreateJoinTokenResponse>(
                       &v1::Jobs::Stub::CreateJoinToken, request, kChangePatienceMs)));
  return response.token();
}

absl::StatusOr<v1::Project> Client::SetProject(const v1::SetProjectRequest& request) {
  return Call<v1::SetProjectRequest, v1::Project>(&v1::Projects::Stub::Set, request,
                                                  kChangePatienceMs);
}

absl::Status Client::RemoveProject(const std::string& name) {
  v1::RemoveProjectRequest request;
  request.set_name(name);
  return Call<v1::RemoveProjectRequest, v1::RemoveProjectResponse>(&v1::Projects::Stub::Remove,
                                                                   request, kChangePatienceMs)
      .status();
}

absl::StatusOr<v1::ListProjectsResponse> Client::ListProjects() {
  return Call<v1::ListProjectsRequest, v1::ListProjectsResponse>(&v1::Projects::Stub::List, {},
                                                                 kReadPatienceMs);
}

absl::Status Client::LoadModel(const v1::LoadModelRequest& request) {
  return Call<v1::LoadModelRequest, v1::LoadModelResponse>(&v1::ModelHosting::Stub::Load, request,
                                                           kChangePatienceMs)
      .status();
}

absl::Status Client::UnloadModel(const std::string& name) {
  v1::UnloadModelRequest request;
  request.set_name(name);
  return Call<v1::UnloadModelRequest, v1::UnloadModelResponse>(&v1::ModelHosting::Stub::Unload,
                                                               request, kChangePatienceMs)
      .status();
}

absl::StatusOr<v1::ListModelsResponse> Client::ListModels() {
  return Call<v1::ListModelsRequest, v1::ListModelsResponse>(&v1::ModelHosting::Stub::List, {},
                                                             kReadPatienceMs);
}

absl::StatusOr<v1::ClusterResourcesResponse> Client::ClusterResources() {
  return Call<v1::ClusterResourcesRequest, v1::ClusterResourcesResponse>(
      &v1::ModelHosting::Stub::ClusterResources, {}, kReadPatienceMs);
}

absl::StatusOr<v1::CheckpointResponse> Client::Checkpoint(uint64_t old_size) {
  v1::CheckpointRequest request;
  request.set_old_size(old_size);
  return Call<v1::CheckpointRequest, v1::CheckpointResponse>(&v1::Audit::Stub::Checkpoint, request,
                                                             kReadPatienceMs);
}

absl::StatusOr<v1::ListEntriesResponse> Client::ListEntries(uint64_t first, uint32_t limit) {
  v1::ListEntriesRequest request;
  request.set_first(first);
  request.set_limit(limit);
  return Call<v1::ListEntriesRequest, v1::ListEntriesResponse>(&v1::Audit::Stub::ListEntries,
                                                               request, kReadPatienceMs);
}

absl::StatusOr<v1::ProveInclusionResponse> Client::ProveInclusion(uint64_t index, uint64_t size) {
  v1::ProveInclusionRequest request;
  request.set_index(index);
  request.set_size(size);
  return Call<v1::ProveInclusionRequest, v1::ProveInclusionResponse>(
      &v1::Audit::Stub::ProveInclusion, request, kReadPatienceMs);
}

bool HasEnded(const v1::Job& job) {
  return job.state() == "done" || job.state() == "failed" || job.state() == "cancelled";
}

}  // namespace corpgrid::cli
