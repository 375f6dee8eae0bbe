#pragma once

#include <atomic>
#include <string>

#include "corpgrid/v1/jobs.grpc.pb.h"
#include "objects/object_store.h"
#include "scheduler/authenticate.h"
#include "scheduler/core_loop.h"
#include "scheduler/job_watch.h"
#include "scheduler/validator.h"
#include "store/store.h"

namespace corpgrid::scheduler {

// What people call (proto/corpgrid/v1/jobs.proto). Lists and histories come from the store, which
// holds every acknowledged change; running progress and reasons come from the core. Any thread.
class JobsService final : public corpgrid::v1::Jobs::Service {
 public:
  static constexpr uint32_t kMaxPage = 1000;
  static constexpr int64_t kWatchMs = 500;  // how often a watcher hears of progress

  // All must outlive the service. `join_key` makes join tokens out of idempotency keys.
  JobsService(const Authenticator* authenticator, CoreLoop* loop, const store::Store* store,
              objects::ObjectStore* objects, Validator* validator, JobWatch* watch,
              std::array<uint8_t, 32> join_key)
      : authenticator_(authenticator),
        loop_(loop),
        store_(store),
        objects_(objects),
        validator_(validator),
        watch_(watch),
        join_key_(join_key) {}

  // Ends the Watch calls, which would otherwise hold a stopping server up.
  void StopWatching() { stopping_ = true; }

  grpc::Status GridInfo(grpc::ServerContext* context, const corpgrid::v1::GridInfoRequest* request,
                        corpgrid::v1::GridInfoResponse* response) override;
  grpc::Status Submit(grpc::ServerContext* context, const corpgrid::v1::SubmitRequest* request,
                      corpgrid::v1::SubmitResponse* response) override;
  grpc::Status List(grpc::ServerContext* context, const corpgrid::v1::ListJobsRequest* request,
                    corpgrid::v1::ListJobsResponse* response) override;
  grpc::Status Get(grpc::ServerContext* context, const corpgrid::v1::GetJobRequest* request,
                   corpgrid::v1::Job* response) override;
  grpc::Status Cancel(grpc::ServerContext* context, const corpgrid::v1::CancelJobRequest* request,
                      corpgrid::v1::Job* response) override;
  grpc::Status Remove(grpc::ServerContext* context, const corpgrid::v1::RemoveJobRequest* request,
                      corpgrid::v1::RemoveJobResponse* response) override;
  grpc::Status Why(grpc::ServerContext* context, const corpgrid::v1::WhyRequest* request,
                   corpgrid::v1::WhyResponse* response) override;
  grpc::Status Watch(grpc::ServerContext* context, const corpgrid::v1::GetJobRequest* request,
                     grpc::ServerWriter<corpgrid::v1::Job>* writer) override;
  grpc::Status ListShards(grpc::ServerContext* context,
                          const corpgrid::v1::ListShardsRequest* request,
                          corpgrid::v1::ListShardsResponse* response) override;
  grpc::Status Logs(grpc::ServerContext* context, const corpgrid::v1::LogsRequest* request,
                    corpgrid::v1::LogsResponse* response) override;
  grpc::Status ListDevices(grpc::ServerContext* context,
                           const corpgrid::v1::ListDevicesRequest* request,
                           corpgrid::v1::ListDevicesResponse* response) override;
  grpc::Status DeviceWhy(grpc::ServerContext* context,
                         const corpgrid::v1::DeviceWhyRequest* request,
                         corpgrid::v1::WhyResponse* response) override;
  grpc::Status DrainDevice(grpc::ServerContext* context,
                           const corpgrid::v1::DrainDeviceRequest* request,
                           corpgrid::v1::DrainDeviceResponse* response) override;
  grpc::Status TrustDevice(grpc::ServerContext* context,
                           const corpgrid::v1::TrustDeviceRequest* request,
                           corpgrid::v1::TrustDeviceResponse* response) override;
  grpc::Status CreateJoinToken(grpc::ServerContext* context,
                               const corpgrid::v1::CreateJoinTokenRequest* request,
                               corpgrid::v1::CreateJoinTokenResponse* response) override;

 private:
  absl::StatusOr<core::SubmitJob> CheckSubmission(const corpgrid::v1::SubmitRequest& request);
  absl::Status DoSubmit(const corpgrid::v1::SubmitRequest& request,
                        corpgrid::v1::SubmitResponse* response);
  absl::StatusOr<std::string> ReadSpec(const objects::ObjectRef& object);
  absl::Status FillJob(JobId id, bool with_spec, corpgrid::v1::Job* out);
  absl::Status FillShards(const corpgrid::v1::ListShardsRequest& request,
                          corpgrid::v1::ListShardsResponse* out);

  const Authenticator* const authenticator_;
  CoreLoop* const loop_;
  const store::Store* const store_;
  objects::ObjectStore* const objects_;
  Validator* const validator_;
  JobWatch* const watch_;
  const std::array<uint8_t, 32> join_key_;
  std::atomic<bool> stopping_ = false;
};

}  // namespace corpgrid::scheduler
