#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "agent/attempt.h"
#include "agent/begun.h"
#include "agent/registrar.h"
#include "agent/stop_signal.h"
#include "corpgrid/v1/audit.grpc.pb.h"
#include "corpgrid/v1/objects.grpc.pb.h"
#include "corpgrid/v1/scheduler.grpc.pb.h"
#include "crypto/hash.h"
#include "rpc/transfer.h"

namespace corpgrid::agent {

// The agent's calls. Each is tried once (the transfers as often as ObjectsClient says), under the
// session in force; the callers decide about trying again (see IsTransient). Any thread.
class SchedulerClient {
 public:
  using Sink = std::function<absl::Status(std::string_view)>;

  virtual ~SchedulerClient() = default;

  virtual absl::StatusOr<std::shared_ptr<const Registration>> CurrentRegistration() = 0;
  // The requests' condition is filled in here.
  virtual absl::StatusOr<corpgrid::v1::PollJobsResponse> Poll(
      corpgrid::v1::PollJobsRequest request) = 0;
  virtual absl::StatusOr<corpgrid::v1::HeartbeatResponse> Heartbeat(
      corpgrid::v1::HeartbeatRequest request) = 0;
  virtual absl::StatusOr<corpgrid::v1::SubmitResultResponse> Submit(
      corpgrid::v1::SubmitResultRequest request) = 0;
  // `state` is staged in the attempt's scope.
  virtual absl::Status ReportCheckpoint(const Attempt& attempt,
                                        const corpgrid::v1::OutputRef& state) = 0;
  // Tells that this device died while it ran these attempts.
  virtual absl::Status ReportDeath(std::span<const BegunAttempt> attempts) = 0;
  // The audit log's newest checkpoint, with the proof that it goes on from `old_size` entries.
  virtual absl::StatusOr<corpgrid::v1::CheckpointResponse> LogCheckpoint(uint64_t old_size) = 0;
  // Streams an object that `attempt` may read. What `sink` received before an error must be thrown
  // away. Errors: DataLoss when the bytes are not the hash's.
  virtual absl::Status Fetch(const Attempt& attempt, const crypto::Hash& hash, uint64_t max_bytes,
                             const Sink& sink) = 0;
  // Uploads all, in order.
  virtual absl::StatusOr<std::vector<corpgrid::v1::StagedObject>> Put(
      std::span<const rpc::ObjectsClient::Upload> uploads) = 0;
};

// The client of a real scheduler. All pointers must outlive it. Polling and fetching end with
// `stop`, handing in with `abort`, so that what is finished can still be delivered while stopping.
class RemoteScheduler final : public SchedulerClient {
 public:
  RemoteScheduler(corpgrid::v1::Scheduler::StubInterface* scheduler,
                  corpgrid::v1::Objects::StubInterface* objects,
                  corpgrid::v1::Audit::StubInterface* audit, Registrar* registrar,
                  ConditionFunction condition, StopSignal* stop, StopSignal* abort);

  absl::StatusOr<std::shared_ptr<const Registration>> CurrentRegistration() override;
  absl::StatusOr<corpgrid::v1::PollJobsResponse> Poll(
      corpgrid::v1::PollJobsRequest request) override;
  absl::StatusOr<corpgrid::v1::HeartbeatResponse> Heartbeat(
      corpgrid::v1::HeartbeatRequest request) override;
  absl::StatusOr<corpgrid::v1::SubmitResultResponse> Submit(
      corpgrid::v1::SubmitResultRequest request) override;
  absl::Status ReportCheckpoint(const Attempt& attempt,
                                const corpgrid::v1::OutputRef& state) override;
  absl::Status ReportDeath(std::span<const BegunAttempt> attempts) override;
  absl::StatusOr<corpgrid::v1::CheckpointResponse> LogCheckpoint(uint64_t old_size) override;
  absl::Status Fetch(const Attempt& attempt, const crypto::Hash& hash, uint64_t max_bytes,
                     const Sink& sink) override;
  absl::StatusOr<std::vector<corpgrid::v1::StagedObject>> Put(
      std::span<const rpc::ObjectsClient::Upload> uploads) override;

 private:
  // Runs `call` under the session in force, and notes whether the scheduler was there.
  absl::Status InSession(const std::function<absl::Status(const Registration&)>& call);
  // The same for a plain call, with its deadline; `signal` cancels it.
  absl::Status Unary(int64_t deadline_ms, StopSignal* signal,
                     const std::function<grpc::Status(grpc::ClientContext*)>& call);
  void NoteReachable(const absl::Status& status);

  corpgrid::v1::Scheduler::StubInterface* const scheduler_;
  corpgrid::v1::Objects::StubInterface* const objects_;
  corpgrid::v1::Audit::StubInterface* const audit_;
  Registrar* const registrar_;
  const ConditionFunction condition_;
  StopSignal* const stop_;
  StopSignal* const abort_;
  std::atomic<bool> reachable_ = true;
};

}  // namespace corpgrid::agent
