#pragma once

#include <memory>

#include "cli/client.h"
#include "corpgrid/v1/audit.grpc.pb.h"
#include "corpgrid/v1/hosting.grpc.pb.h"
#include "corpgrid/v1/jobs.grpc.pb.h"
#include "corpgrid/v1/projects.grpc.pb.h"
#include "rpc/connect.h"
#include "rpc/transfer.h"

// What the parts of Client share.
namespace corpgrid::cli {

struct Client::Connection {
  rpc::GridFile grid;
  std::shared_ptr<grpc::Channel> channel;
  std::unique_ptr<corpgrid::v1::Jobs::Stub> jobs;
  std::unique_ptr<corpgrid::v1::Objects::Stub> objects;
  std::unique_ptr<corpgrid::v1::Audit::Stub> audit;
  std::unique_ptr<corpgrid::v1::Projects::Stub> projects;
  std::unique_ptr<corpgrid::v1::ModelHosting::Stub> models;
  std::unique_ptr<rpc::ObjectsClient> transfer;

  // The stub that has a method.
  template <typename Method>
  corpgrid::v1::Jobs::Stub* StubOf(Method corpgrid::v1::Jobs::Stub::*) const {
    return jobs.get();
  }
  template <typename Method>
  corpgrid::v1::Audit::Stub* StubOf(Method corpgrid::v1::Audit::Stub::*) const {
    return audit.get();
  }
  template <typename Method>
  corpgrid::v1::Projects::Stub* StubOf(Method corpgrid::v1::Projects::Stub::*) const {
    return projects.get();
  }
  template <typename Method>
  corpgrid::v1::ModelHosting::Stub* StubOf(Method corpgrid::v1::ModelHosting::Stub::*) const {
    return models.get();
  }
};

}  // namespace corpgrid::cli
