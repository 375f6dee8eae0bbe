#pragma once

#include <string>

#include "corpgrid/v1/objects.grpc.pb.h"
#include "objects/object_store.h"
#include "scheduler/authenticate.h"
#include "scheduler/grants.h"

namespace corpgrid::scheduler {

// Bytes in and out (proto/corpgrid/v1/objects.proto). Agents stage under the grant of a live
// attempt and read what its job names; people stage uploads of their own and read everything. Any
// thread.
class ObjectsService final : public corpgrid::v1::Objects::Service {
 public:
  static constexpr uint64_t kMaxUploadBytes = 64ull << 30;  // one object of a person

  // All must outlive the service.
  ObjectsService(const Authenticator* authenticator, GrantTable* grants,
                 objects::ObjectStore* objects)
      : authenticator_(authenticator), grants_(grants), objects_(objects) {}

  grpc::Status Put(grpc::ServerContext* context,
                   grpc::ServerReader<corpgrid::v1::PutRequest>* reader,
                   corpgrid::v1::PutResponse* response) override;
  grpc::Status Staged(grpc::ServerContext* context, const corpgrid::v1::StagedRequest* request,
                      corpgrid::v1::StagedResponse* response) override;
  grpc::Status Get(grpc::ServerContext* context, const corpgrid::v1::GetRequest* request,
                   grpc::ServerWriter<corpgrid::v1::GetResponse>* writer) override;

 private:
  class PutCall;

  // Where a caller's upload goes and how much of it may come.
  struct Target {
    std::string scope;
    AttemptId attempt;  // 0: a person's
    uint64_t max_bytes = 0;
  };

  // Authenticates the caller for one upload. Errors: Unauthenticated, PermissionDenied.
  absl::StatusOr<Target> AuthenticateUpload(const grpc::ServerContextBase& context,
                                            const corpgrid::v1::Grant& grant,
                                            const std::string& name) const;

  const Authenticator* const authenticator_;
  GrantTable* const grants_;
  objects::ObjectStore* const objects_;
};

}  // namespace corpgrid::scheduler
