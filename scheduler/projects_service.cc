#include "scheduler/projects_service.h"

#include <algorithm>
#include <iterator>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/status_macros.h"
#include "fmt/format.h"
#include "rpc/status.h"

namespace corpgrid::scheduler {
namespace pb = corpgrid::v1;
namespace {

constexpr uint64_t kNoLimit = core::ProjectRow::kNoLimit;

void ToMessage(const core::ProjectView& view, pb::Project* out) {
  const core::ProjectRow& row = view.row;
  out->set_name(row.name);
  out->set_weight(row.weight);
  pb::Quotas* quotas = out->mutable_quotas();
  if (row.max_cpus != kNoLimit) quotas->set_max_cpus(row.max_cpus);
  if (row.max_memory_bytes != kNoLimit) quotas->set_max_memory_bytes(row.max_memory_bytes);
  if (row.max_gpus != kNoLimit) quotas->set_max_gpus(row.max_gpus);
  if (row.max_running != kNoLimit) quotas->set_max_running(row.max_running);
  if (row.max_queued != kNoLimit) quotas->set_max_queued(row.max_queued);
  out->set_cpus_used(view.cpus);
  out->set_memory_bytes_used(view.memory_bytes);
  out->set_gpus_used(view.gpus);
  out->set_attempts_running(view.attempts);
  out->set_dominant_share(view.share);
  out->set_jobs_queued(view.jobs_queued);
  out->set_jobs_running(view.jobs_running);
}

absl::StatusOr<core::SetProject> ToCommand(const pb::SetProjectRequest& request) {
  core::SetProject set{.name = request.name()};
  if (request.has_weight()) set.weight = request.weight();
  const pb::Quotas& quotas = request.quotas();
  if (quotas.has_max_cpus()) set.max_cpus = quotas.max_cpus();
  if (quotas.has_max_memory_bytes()) set.max_memory_bytes = quotas.max_memory_bytes();
  if (quotas.has_max_gpus()) set.max_gpus = quotas.max_gpus();
  if (quotas.has_max_running()) set.max_running = quotas.max_running();
  if (quotas.has_max_queued()) set.max_queued = quotas.max_queued();
  const std::pair<std::string_view, std::optional<uint64_t>*> limits[] = {
      {"max_cpus", &set.max_cpus},
      {"max_memory_bytes", &set.max_memory_bytes},
      {"max_gpus", &set.max_gpus},
      {"max_running", &set.max_running},
      {"max_queued", &set.max_queued}};
  for (const std::string& name : request.lift()) {
    const auto limit = std::find_if(std::begin(limits), std::end(limits),
                                    [&](const auto& entry) { return entry.first == name; });
    if (limit == std::end(limits)) {
      return absl::InvalidArgumentError(fmt::format("there is no limit \"{}\" to lift", name));
    }
    *limit->second = kNoLimit;
  }
  return set;
}

}  // namespace

absl::Status ProjectsService::DoSet(const pb::SetProjectRequest& request, pb::Project* out) {
  ASSIGN_OR_RETURN(core::SetProject set, ToCommand(request));
  RETURN_IF_ERROR(loop_->CallStatus(std::move(set)));
  ASSIGN_OR_RETURN(const auto views,
                   loop_->Call<std::vector<core::ProjectView>>(core::ViewProjects{}));
  for (const core::ProjectView& view : views) {
    if (view.row.name == request.name()) ToMessage(view, out);
  }
  return absl::OkStatus();
}

grpc::Status ProjectsService::Set(grpc::ServerContext* context,
                                  const pb::SetProjectRequest* request, pb::Project* response) {
  if (const auto who = authenticator_->AuthenticatePerson(*context); !who.ok())
    return rpc::ToGrpc(who);
  return rpc::ToGrpc(DoSet(*request, response));
}

grpc::Status ProjectsService::Remove(grpc::ServerContext* context,
                                     const pb::RemoveProjectRequest* request,
                                     pb::RemoveProjectResponse*) {
  if (const auto who = authenticator_->AuthenticatePerson(*context); !who.ok())
    return rpc::ToGrpc(who);
  return rpc::ToGrpc(loop_->CallStatus(core::RemoveProject{request->name()}));
}

grpc::Status ProjectsService::List(grpc::ServerContext* context, const pb::ListProjectsRequest*,
                                   pb::ListProjectsResponse* response) {
  if (const auto who = authenticator_->AuthenticatePerson(*context); !who.ok())
    return rpc::ToGrpc(who);
  const auto views = loop_->Call<std::vector<core::ProjectView>>(core::ViewProjects{});
  if (!views.ok()) return rpc::ToGrpc(views.status());
  for (const core::ProjectView& view : *views) ToMessage(view, response->add_projects());
  return grpc::Status::OK;
}

}  // namespace corpgrid::scheduler
