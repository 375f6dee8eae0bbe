#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "audit/batch_signature.h"
#include "base/clock.h"
#include "corpgrid/v1/scheduler.grpc.pb.h"
#include "rpc/protocol.h"
#include "scheduler/authenticate.h"
#include "scheduler/core_loop.h"
#include "scheduler/grants.h"

namespace corpgrid::scheduler {

// A PollJobs call that waits for shards.
class PollReactor;

// What agents call (proto/corpgrid/v1/scheduler.proto). The calls of which a fleet makes many at
// once hold no thread while they wait for the core and its commit; ReportCheckpoint, which waits
// for the disk itself, does. Any thread.
class AgentService final : public corpgrid::v1::Scheduler::WithCallbackMethod_RegisterAgent<
                               corpgrid::v1::Scheduler::WithCallbackMethod_PollJobs<
                                   corpgrid::v1::Scheduler::WithCallbackMethod_Heartbeat<
                                       corpgrid::v1::Scheduler::WithCallbackMethod_SubmitResult<
                                           corpgrid::v1::Scheduler::Service>>>> {
 public:
  static constexpr size_t kMaxResults = audit::kMaxBatch;  // in one call
  static constexpr size_t kMaxHeld = 4096;
  static constexpr uint32_t kMaxWaitMs = 60'000;
  static constexpr size_t kMaxRefusedNoted = 1000;

  // All must outlive the service.
  AgentService(const Authenticator* authenticator, SessionTable* sessions, GrantTable* grants,
               objects::ObjectStore* objects, CoreLoop* loop, const Clock* clock,
               core::GridConfig config, std::vector<std::string> known_programs)
      : authenticator_(authenticator),
        sessions_(sessions),
        grants_(grants),
        objects_(objects),
        loop_(loop),
        clock_(clock),
        config_(config),
        known_programs_(std::move(known_programs)) {}

  grpc::ServerUnaryReactor* RegisterAgent(grpc::CallbackServerContext* context,
                                          const corpgrid::v1::RegisterAgentRequest* request,
                                          corpgrid::v1::RegisterAgentResponse* response) override;
  grpc::ServerUnaryReactor* PollJobs(grpc::CallbackServerContext* context,
                                     const corpgrid::v1::PollJobsRequest* request,
                                     corpgrid::v1::PollJobsResponse* response) override;
  grpc::ServerUnaryReactor* Heartbeat(grpc::CallbackServerContext* context,
                                      const corpgrid::v1::HeartbeatRequest* request,
                                      corpgrid::v1::HeartbeatResponse* response) override;
  grpc::ServerUnaryReactor* SubmitResult(grpc::CallbackServerContext* context,
                                         const corpgrid::v1::SubmitResultRequest* request,
                                         corpgrid::v1::SubmitResultResponse* response) override;
  grpc::Status ReportCheckpoint(grpc::ServerContext* context,
                                const corpgrid::v1::ReportCheckpointRequest* request,
                                corpgrid::v1::ReportCheckpointResponse* response) override;
  grpc::Status ReportDeath(grpc::ServerContext* context,
                           const corpgrid::v1::ReportDeathRequest* request,
                           corpgrid::v1::ReportDeathResponse* response) override;

  // The three below: on the core's thread.
  // Answers the devices that wait. The leases are committed.
  void Deliver(const std::vector<core::Lease>& leases);
  // Ends the polls that have waited long enough.
  void EndOldPolls();
  // Answers every waiting poll with `status`; the agents ask again.
  void FailPolls(const absl::Status& status);

 private:
  friend class PollReactor;

  // Takes the poll of `device` off the list if it is `poll` (any, when null).
  std::shared_ptr<PollReactor> TakePoll(DeviceId device, const PollReactor* poll);
  // OK when this scheduler speaks a version of its protocol. Errors: FailedPrecondition.
  absl::Status CheckProtocol(const corpgrid::v1::RegisterAgentRequest& request,
                             const rpc::ProtocolRange& theirs);
  void FillRegistration(const corpgrid::v1::RegisterAgentRequest& request,
                        const core::Registered& registered,
                        corpgrid::v1::RegisterAgentResponse* response);

  const Authenticator* const authenticator_;
  SessionTable* const sessions_;
  GrantTable* const grants_;
  objects::ObjectStore* const objects_;
  CoreLoop* const loop_;
  const Clock* const clock_;
  const core::GridConfig config_;
  const std::vector<std::string> known_programs_;

  absl::Mutex mutex_;
  std::map<DeviceId, std::shared_ptr<PollReactor>> polls_ ABSL_GUARDED_BY(mutex_);
  std::set<std::string> refused_ ABSL_GUARDED_BY(mutex_);  // keys of devices; the log has told
};

}  // namespace corpgrid::scheduler
