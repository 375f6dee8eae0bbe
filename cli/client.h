#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "corpgrid/v1/audit.pb.h"
#include "corpgrid/v1/hosting.pb.h"
#include "corpgrid/v1/jobs.pb.h"
#include "corpgrid/v1/projects.pb.h"

namespace corpgrid::rpc {
class ObjectsClient;
struct ProtocolRange;
}  // namespace corpgrid::rpc

namespace corpgrid::cli {

// A person's connection to the grid whose data folder is given. Every call is idempotent and is
// repeated with back-off while the scheduler cannot be reached: changes for half a minute, reads
// for a few seconds, neither when the scheduler is gone and nobody restarts it. Errors of all
// calls: Unavailable, with what to do next, when the grid does not answer; otherwise the
// scheduler's own. Any thread.
class Client {
 public:
  // Does not connect yet. Errors: Unavailable when there is no grid in `data_folder`.
  static absl::StatusOr<std::unique_ptr<Client>> Open(const std::string& data_folder);
  ~Client();

  const std::string& data_folder() const { return data_folder_; }
  const std::string& address() const;
  const std::string& grid_id() const;

  // The version that is spoken with the scheduler (rpc/protocol.h); the first call of all asks for
  // it. Errors: FailedPrecondition when there is none that both speak.
  absl::StatusOr<uint32_t> Protocol();
  absl::StatusOr<corpgrid::v1::GridInfoResponse> GridInfo();
  absl::StatusOr<corpgrid::v1::SubmitResponse> Submit(const corpgrid::v1::SubmitRequest& request);
  absl::StatusOr<corpgrid::v1::ListJobsResponse> ListJobs(uint64_t before_id, uint32_t limit);
  absl::StatusOr<corpgrid::v1::Job> GetJob(uint64_t job_id);
  absl::StatusOr<corpgrid::v1::Job> CancelJob(uint64_t job_id);
  absl::Status RemoveJob(uint64_t job_id);
  absl::StatusOr<corpgrid::v1::WhyResponse> WhyJob(uint64_t job_id);
  absl::StatusOr<corpgrid::v1::ListShardsResponse> ListShards(uint64_t job_id, uint32_t first,
                                                              uint32_t limit);
  absl::StatusOr<corpgrid::v1::LogsResponse> Logs(uint64_t attempt_id);
  absl::StatusOr<corpgrid::v1::ListDevicesResponse> ListDevices();
  absl::StatusOr<corpgrid::v1::DrainDeviceResponse> DrainDevice(
      const corpgrid::v1::DrainDeviceRequest& request);
  absl::Status TrustDevice(const corpgrid::v1::TrustDeviceRequest& request);
  absl::StatusOr<corpgrid::v1::WhyResponse> WhyDevice(uint64_t device_id);
  // `key` makes it idempotent: the same key gives the same token.
  absl::StatusOr<std::string> CreateJoinToken(const std::string& owner, uint32_t uses,
                                              const std::string& key);

  absl::StatusOr<corpgrid::v1::Project> SetProject(const corpgrid::v1::SetProjectRequest& request);
  absl::Status RemoveProject(const std::string& name);
  absl::StatusOr<corpgrid::v1::ListProjectsResponse> ListProjects();

  absl::Status LoadModel(const corpgrid::v1::LoadModelRequest& request);
  absl::Status UnloadModel(const std::string& name);
  absl::StatusOr<corpgrid::v1::ListModelsResponse> ListModels();
  absl::StatusOr<corpgrid::v1::ClusterResourcesResponse> ClusterResources();
  // Asks a model; `on_part` gets what comes, on the calling thread. Never repeated: half an answer
  // cannot be taken back. Errors: Cancelled, within a moment, once `stop` is true; Aborted when
  // what answered is gone while the grid is there.
  absl::Status Infer(const corpgrid::v1::InferRequest& request,
                     const std::function<void(const corpgrid::v1::GenerateResponse&)>& on_part,
                     const std::atomic<bool>& stop);
  // A call to a device's agent, and its serialised answer. Repeated for `patience_ms` while the
  // device cannot be reached. Errors as of Infer().
  absl::StatusOr<std::string> CallAgent(const corpgrid::v1::CallRequest& request,
                                        int64_t patience_ms, const std::atomic<bool>& stop);

  absl::StatusOr<corpgrid::v1::CheckpointResponse> Checkpoint(uint64_t old_size);
  absl::StatusOr<corpgrid::v1::ListEntriesResponse> ListEntries(uint64_t first, uint32_t limit);
  absl::StatusOr<corpgrid::v1::ProveInclusionResponse> ProveInclusion(uint64_t index,
                                                                      uint64_t size);

  struct WatchEvents {
    std::function<void(const corpgrid::v1::Job&)> on_job;
    std::function<void()> on_lost;  // once each time the connection is lost
    std::function<void()> on_tick;  // ten times a second, from another thread
  };
  // Follows a job until it has ended and returns it as it was then. A lost connection is made again
  // for up to a minute. Errors: Cancelled, within a moment, once `stop` is true.
  absl::StatusOr<corpgrid::v1::Job> WatchJob(uint64_t job_id, const WatchEvents& events,
                                             const std::atomic<bool>& stop);

  // Lives as long as this client. Its calls return the scheduler's errors as they are.
  rpc::ObjectsClient& objects();

  // Whether the scheduler is dead and nobody looks after it: waiting would be in vain.
  bool GridIsGone() const;
  // What to tell a person whose call ended with `status` for good.
  absl::Status Unreachable(const absl::Status& status) const;

 private:
  struct Connection;
  explicit Client(std::string data_folder);
  // Makes sure that the scheduler understands this program, before it is asked for anything.
  absl::StatusOr<uint32_t> Meet(int64_t patience_ms);
  template <typename Request, typename Response, typename Method>
  absl::StatusOr<Response> Call(Method method, const Request& request, int64_t patience_ms);
  // The same with whoever answers; `scheduler` gets what that speaks.
  template <typename Request, typename Response, typename Method>
  absl::StatusOr<Response> CallUnmet(Method method, const Request& request, int64_t patience_ms,
                                     rpc::ProtocolRange* scheduler);

  const std::string data_folder_;
  std::unique_ptr<Connection> connection_;
  absl::Mutex meeting_;
  uint32_t protocol_ ABSL_GUARDED_BY(meeting_) = 0;  // 0: not known yet
};

// Whether a job with this state has ended.
bool HasEnded(const corpgrid::v1::Job& job);

}  // namespace corpgrid::cli
