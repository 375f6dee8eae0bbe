#pragma once

#include "corpgrid/v1/audit.grpc.pb.h"
#include "scheduler/audit_log.h"
#include "scheduler/authenticate.h"
#include "store/store.h"

namespace corpgrid::scheduler {

// What those ask who watch the grid (proto/corpgrid/v1/audit.proto). Any thread.
class AuditService final : public corpgrid::v1::Audit::Service {
 public:
  static constexpr uint32_t kMaxPage = 1000;
  // That a checkpoint may have for agents: they come in crowds, and what they look for is old.
  static constexpr int64_t kMaxAgeForAgentsMs = 2000;

  // All must outlive the service.
  AuditService(const Authenticator* authenticator, AuditLog* log, const store::Store* store)
      : authenticator_(authenticator), log_(log), store_(store) {}

  grpc::Status Checkpoint(grpc::ServerContext* context,
                          const corpgrid::v1::CheckpointRequest* request,
                          corpgrid::v1::CheckpointResponse* response) override;
  grpc::Status ListEntries(grpc::ServerContext* context,
                           const corpgrid::v1::ListEntriesRequest* request,
                           corpgrid::v1::ListEntriesResponse* response) override;
  grpc::Status ProveInclusion(grpc::ServerContext* context,
                              const corpgrid::v1::ProveInclusionRequest* request,
                              corpgrid::v1::ProveInclusionResponse* response) override;

 private:
  absl::Status FillCheckpoint(uint64_t old_size, int64_t max_age_ms,
                              corpgrid::v1::CheckpointResponse* out);
  absl::Status FillInclusion(uint64_t index, uint64_t size,
                             corpgrid::v1::ProveInclusionResponse* out);
  // OK when a checkpoint of `size` entries was signed.
  absl::Status CheckSize(uint64_t size);

  const Authenticator* const authenticator_;
  AuditLog* const log_;
  const store::Store* const store_;
};

}  // namespace corpgrid::scheduler
