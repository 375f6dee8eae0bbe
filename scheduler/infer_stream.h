#pragma once

#include <grpcpp/alarm.h>
#include <grpcpp/support/server_callback.h>

#include <deque>
#include <memory>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "corpgrid/v1/hosting.pb.h"
#include "scheduler/model_directory.h"

namespace corpgrid::scheduler {

// A call of ModelHosting.Infer: finds a replica, waits for one that is being loaded, writes the
// conversation down where there is one, and passes the answer on. Lives until the call is over. Any
// thread.
class InferStream final : public grpc::ServerWriteReactor<corpgrid::v1::GenerateResponse>,
                          public std::enable_shared_from_this<InferStream> {
 public:
  static constexpr absl::Duration kRetry = absl::Milliseconds(250);
  static constexpr absl::Duration kPatience = absl::Minutes(2);  // for a model to be loaded

  // `who`: an error ends the call with it.
  static grpc::ServerWriteReactor<corpgrid::v1::GenerateResponse>* Begin(
      ModelDirectory* directory, corpgrid::v1::InferRequest request, const absl::Status& who);

  void OnWriteDone(bool ok) override;
  void OnCancel() override;
  void OnDone() override;

 private:
  class Step;

  InferStream(ModelDirectory* directory, corpgrid::v1::InferRequest request)
      : directory_(directory), request_(std::move(request)), give_up_(absl::Now() + kPatience) {}

  void Find();
  void OnFound(absl::StatusOr<std::shared_ptr<rpc::WorkerChannel>> channel);
  void Render();
  void Generate();
  void StartCall(std::string_view method, const std::string& request, bool renders);
  void OnResponse(bool renders, std::string response);
  void OnEnd(bool renders, const absl::Status& status);
  void End(const absl::Status& status);
  void GoOn() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  ModelDirectory* const directory_;
  corpgrid::v1::InferRequest request_;
  const absl::Time give_up_;
  std::shared_ptr<InferStream> self_;  // until OnDone
  std::shared_ptr<rpc::WorkerChannel> channel_;
  grpc::Alarm alarm_;

  absl::Mutex mutex_;
  std::unique_ptr<rpc::WorkerCall> call_ ABSL_GUARDED_BY(mutex_);
  std::deque<corpgrid::v1::GenerateResponse> waiting_ ABSL_GUARDED_BY(mutex_);
  corpgrid::v1::GenerateResponse written_ ABSL_GUARDED_BY(mutex_);
  bool writing_ ABSL_GUARDED_BY(mutex_) = false;
  bool over_ ABSL_GUARDED_BY(mutex_) = false;      // nothing more is to be written
  bool finished_ ABSL_GUARDED_BY(mutex_) = false;  // Finish was called
  absl::Status status_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace corpgrid::scheduler
