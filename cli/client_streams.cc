#include <chrono>
#include <condition_variable>
#include <functional>
#include <mutex>
#include <thread>

#include "base/status_macros.h"
#include "cli/client.h"
#include "cli/client_connection.h"
#include "cli/patience.h"
#include "rpc/connect.h"
#include "rpc/status.h"

// The calls of Client that last.
namespace corpgrid::cli {
namespace {

namespace v1 = corpgrid::v1;

constexpr int64_t kStreamDeadlineMs = 3'600'000;  // then the watch is opened again
constexpr int64_t kTickMs = 100;

// Calls `tick` ten times a second until it goes: a blocked read can only be ended from another
// thread.
std::jthread EveryTick(std::function<void()> tick) {
  return std::jthread([tick = std::move(tick)](const std::stop_token& done) {
    std::mutex mutex;
    std::condition_variable_any wake;
    std::unique_lock lock(mutex);
    while (!wake.wait_for(lock, done, std::chrono::milliseconds(kTickMs),
                          [&] { return done.stop_requested(); })) {
      tick();
    }
  });
}

}  // namespace

absl::Status Client::Infer(const v1::InferRequest& request,
                           const std::function<void(const v1::GenerateResponse&)>& on_part,
                           const std::atomic<bool>& stop) {
  RETURN_IF_ERROR(Meet(kReadPatienceMs).status());
  grpc::ClientContext context;
  rpc::PrepareCall(&context, kStreamDeadlineMs, rpc::kTokenKey, connection_->grid.token);
  absl::Status status;
  {
    const std::jthread ticker = EveryTick([&] {
      if (stop) context.TryCancel();
    });
    const auto reader = connection_->models->Infer(&context, request);
    v1::GenerateResponse part;
    while (!stop && reader->Read(&part)) on_part(part);
    if (stop) context.TryCancel();
    status = rpc::FromGrpc(reader->Finish());
  }
  if (stop && !status.ok()) return absl::CancelledError("the answer was stopped");
  if (!absl::IsUnavailable(status)) return status;
  RETURN_IF_ERROR(ListModels().status());
  return absl::AbortedError(status.message());
}

absl::StatusOr<std::string> Client::CallAgent(const v1::CallRequest& request, int64_t patience_ms,
                                              const std::atomic<bool>& stop) {
  RETURN_IF_ERROR(Meet(kChangePatienceMs).status());
  Patience patience(patience_ms);
  while (!stop) {
    grpc::ClientContext context;
    rpc::PrepareCall(&context, kStreamDeadlineMs, rpc::kTokenKey, connection_->grid.token);
    v1::CallResponse response;
    absl::Status status;
    {
      const std::jthread ticker = EveryTick([&] {
        if (stop) context.TryCancel();
      });
      const auto reader = connection_->models->Call(&context, request);
      v1::CallResponse part;
      while (reader->Read(&part)) response = std::move(part);
      status = rpc::FromGrpc(reader->Finish());
    }
    if (status.ok()) return std::move(*response.mutable_response());
    if (stop) break;
    if (!absl::IsUnavailable(status)) return status;
    if (GridIsGone()) return Unreachable(status);
    if (patience.Wait()) continue;
    RETURN_IF_ERROR(ListModels().status());
    return absl::AbortedError(status.message());
  }
  return absl::CancelledError("stopped");
}

absl::StatusOr<v1::Job> Client::WatchJob(uint64_t job_id, const WatchEvents& events,
                                         const std::atomic<bool>& stop) {
  RETURN_IF_ERROR(Meet(kWatchPatienceMs).status());
  v1::GetJobRequest request;
  request.set_job_id(job_id);
  Patience patience(kWatchPatienceMs);
  bool connected = true;
  while (!stop) {
    grpc::ClientContext context;
    rpc::PrepareCall(&context, kStreamDeadlineMs, rpc::kTokenKey, connection_->grid.token);
    v1::Job job;
    absl::Status status;
    {
      const std::jthread ticker = EveryTick([&] {
        if (stop) context.TryCancel();
        if (events.on_tick) events.on_tick();
      });
      const auto reader = connection_->jobs->Watch(&context, request);
      while (reader->Read(&job)) {
        connected = true;
        patience.Reset();
        if (events.on_job) events.on_job(job);
      }
      status = rpc::FromGrpc(reader->Finish());
    }
    if (stop) break;
    if (status.ok() && HasEnded(job)) return job;
    if (!status.ok() && !absl::IsUnavailable(status) && !absl::IsDeadlineExceeded(status)) {
      return status;
    }
    if (connected && absl::IsUnavailable(status) && events.on_lost) events.on_lost();
    connected = !absl::IsUnavailable(status);
    if (GridIsGone() || !patience.Wait()) return Unreachable(status);
  }
  return absl::CancelledError("no longer watched");
}

}  // namespace corpgrid::cli
