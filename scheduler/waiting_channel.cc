#include "scheduler/waiting_channel.h"

#include <grpcpp/alarm.h>

#include <optional>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"

namespace corpgrid::scheduler {
namespace {

class Search final : public std::enable_shared_from_this<Search> {
 public:
  Search(ModelDirectory* directory, std::string model, std::string_view method, std::string request,
         std::shared_ptr<rpc::CallListener> listener)
      : directory_(directory),
        model_(std::move(model)),
        method_(method),
        request_(std::move(request)),
        give_up_(absl::Now() + WaitingChannel::kPatience),
        listener_(std::move(listener)) {}

  void Look() {
    {
      const absl::MutexLock lock(&mutex_);
      if (cancelled_) return;
    }
    directory_->Find(
        model_, [self = shared_from_this()](auto channel) { self->OnFound(std::move(channel)); });
  }

  void Cancel() {
    std::unique_ptr<rpc::WorkerCall> call;
    {
      const absl::MutexLock lock(&mutex_);
      if (std::exchange(cancelled_, true)) return;
      call.swap(call_);
      if (alarm_) alarm_->Cancel();
      if (started_) return;  // The worker's end is the call's.
    }
    listener_->OnEnd(absl::CancelledError("the caller went away"));
  }

 private:
  void OnFound(absl::StatusOr<std::shared_ptr<rpc::WorkerChannel>> channel) {
    {
      const absl::MutexLock lock(&mutex_);
      if (cancelled_) return;
      if (absl::IsUnavailable(channel.status()) && absl::Now() < give_up_) {
        // Its call keeps it. An alarm keeps what it calls, also when it has rung.
        alarm_.emplace();
        alarm_->Set(absl::ToChronoTime(absl::Now() + WaitingChannel::kRetry),
                    [weak = weak_from_this()](bool rang) {
                      const auto self = rang ? weak.lock() : nullptr;
                      if (self) self->Look();
                    });
        return;
      }
      started_ = true;
    }
    if (!channel.ok()) return listener_->OnEnd(channel.status());
    auto call = (*channel)->Start(method_, request_, listener_);
    const absl::MutexLock lock(&mutex_);
    if (!cancelled_) call_.swap(call);
  }

  ModelDirectory* const directory_;
  const std::string model_;
  const std::string method_;
  const std::string request_;
  const absl::Time give_up_;
  const std::shared_ptr<rpc::CallListener> listener_;

  absl::Mutex mutex_;
  std::optional<grpc::Alarm> alarm_ ABSL_GUARDED_BY(mutex_);
  std::unique_ptr<rpc::WorkerCall> call_ ABSL_GUARDED_BY(mutex_);
  bool started_ ABSL_GUARDED_BY(mutex_) = false;  // the listener hears from elsewhere
  bool cancelled_ ABSL_GUARDED_BY(mutex_) = false;
};

class SearchingCall final : public rpc::WorkerCall {
 public:
  explicit SearchingCall(std::shared_ptr<Search> search) : search_(std::move(search)) {}
  ~SearchingCall() override { search_->Cancel(); }

 private:
  const std::shared_ptr<Search> search_;
};

}  // namespace

std::unique_ptr<rpc::WorkerCall> WaitingChannel::Start(
    std::string_view method, const std::string& request,
    std::shared_ptr<rpc::CallListener> listener) {
  auto search = std::make_shared<Search>(directory_, model_, method, request, std::move(listener));
  search->Look();
  return std::make_unique<SearchingCall>(std::move(search));
}

}  // namespace corpgrid::scheduler
