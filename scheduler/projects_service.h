#pragma once

#include "corpgrid/v1/projects.grpc.pb.h"
#include "scheduler/authenticate.h"
#include "scheduler/core_loop.h"

namespace corpgrid::scheduler {

// What people ask of projects (proto/corpgrid/v1/projects.proto). All of it is the core's to
// answer. Any thread.
class ProjectsService final : public corpgrid::v1::Projects::Service {
 public:
  // Both must outlive the service.
  ProjectsService(const Authenticator* authenticator, CoreLoop* loop)
      : authenticator_(authenticator), loop_(loop) {}

  grpc::Status Set(grpc::ServerContext* context, const corpgrid::v1::SetProjectRequest* request,
                   corpgrid::v1::Project* response) override;
  grpc::Status Remove(grpc::ServerContext* context,
                      const corpgrid::v1::RemoveProjectRequest* request,
                      corpgrid::v1::RemoveProjectResponse* response) override;
  grpc::Status List(grpc::ServerContext* context, const corpgrid::v1::ListProjectsRequest* request,
                    corpgrid::v1::ListProjectsResponse* response) override;

 private:
  absl::Status DoSet(const corpgrid::v1::SetProjectRequest& request, corpgrid::v1::Project* out);

  const Authenticator* const authenticator_;
  CoreLoop* const loop_;
};

}  // namespace corpgrid::scheduler
