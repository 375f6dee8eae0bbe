#pragma once

#include <grpcpp/support/server_callback.h>

#include <deque>
#include <functional>
#include <memory>
#include <string>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "corpgrid/v1/hosting.pb.h"
#include "rpc/status.h"
#include "rpc/worker_channel.h"

namespace corpgrid::scheduler {

// A call whose answer is what a worker answers, each message made a `Response`. Lives until the
// call is over. Any thread.
template <typename Response>
class ForwardStream : public grpc::ServerWriteReactor<Response>,
                      public rpc::CallListener,
                      public std::enable_shared_from_this<ForwardStream<Response>> {
 public:
  static constexpr size_t kMaxWaitingBytes = 16 << 20;

  explicit ForwardStream(std::shared_ptr<rpc::WorkerChannel> channel)
      : channel_(std::move(channel)) {}

  void Begin(std::string_view method, const std::string& request) {
    self_ = this->shared_from_this();
    Start(method, request);
  }

  // Ends the call with an error before it has begun.
  void Refuse(const absl::Status& status) {
    self_ = this->shared_from_this();
    End(status);
  }

  void OnResponse(std::string response) override {
    Response message;
    if (!Fill(std::move(response), &message)) {
      return End(absl::InternalError("the device's answer is none"));
    }
    const size_t bytes = message.ByteSizeLong();
    {
      const absl::MutexLock lock(&mutex_);
      if (over_) return;
      waiting_bytes_ += bytes;
      if (waiting_bytes_ <= kMaxWaitingBytes || waiting_.empty()) {
        waiting_.push_back(std::move(message));
        return GoOn();
      }
    }
    End(absl::ResourceExhaustedError("the caller is too slow for the answer"));
  }

  void OnEnd(absl::Status status) override { End(status); }

  void OnWriteDone(bool ok) override {
    const absl::MutexLock lock(&mutex_);
    writing_ = false;
    if (!ok) waiting_.clear();
    GoOn();
  }

  void OnCancel() override { End(absl::CancelledError("the caller went away")); }

  void OnDone() override { self_.reset(); }

 protected:
  void Start(std::string_view method, const std::string& request) {
    uint64_t turn = 0;
    {
      const absl::MutexLock lock(&mutex_);
      turn = ++turns_;
    }
    // The call may be over, and the next one begun, before it is here.
    auto call = channel_->Start(method, request, this->shared_from_this());
    const absl::MutexLock lock(&mutex_);
    if (!over_ && turn == turns_) call_.swap(call);
  }

  void End(const absl::Status& status) {
    std::unique_ptr<rpc::WorkerCall>
        call;  // What is left of it is cancelled when the lock is gone.
    const absl::MutexLock lock(&mutex_);
    if (std::exchange(over_, true)) return;
    status_ = status;
    call_.swap(call);
    GoOn();
  }

 private:
  // Reads a worker's message; false when it is none.
  virtual bool Fill(std::string response, Response* message) = 0;

  void GoOn() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    if (writing_ || finished_) return;
    if (!waiting_.empty()) {
      written_ = std::move(waiting_.front());
      waiting_.pop_front();
      waiting_bytes_ -= written_.ByteSizeLong();
      writing_ = true;
      this->StartWrite(&written_);
    } else if (over_) {
      finished_ = true;
      this->Finish(rpc::ToGrpc(status_));
    }
  }

  const std::shared_ptr<rpc::WorkerChannel> channel_;
  std::shared_ptr<ForwardStream> self_;  // until OnDone

  absl::Mutex mutex_;
  std::unique_ptr<rpc::WorkerCall> call_ ABSL_GUARDED_BY(mutex_);
  std::deque<Response> waiting_ ABSL_GUARDED_BY(mutex_);
  Response written_ ABSL_GUARDED_BY(mutex_);
  size_t waiting_bytes_ ABSL_GUARDED_BY(mutex_) = 0;
  uint64_t turns_ ABSL_GUARDED_BY(mutex_) = 0;  // calls that were begun
  bool writing_ ABSL_GUARDED_BY(mutex_) = false;
  bool over_ ABSL_GUARDED_BY(mutex_) = false;      // nothing more is to be written
  bool finished_ ABSL_GUARDED_BY(mutex_) = false;  // Finish was called
  absl::Status status_ ABSL_GUARDED_BY(mutex_);
};

// ModelHosting.Call: the worker's messages as they are.
class CallStream final : public ForwardStream<corpgrid::v1::CallResponse> {
 public:
  using ForwardStream::ForwardStream;

 private:
  bool Fill(std::string response, corpgrid::v1::CallResponse* message) override {
    message->set_response(std::move(response));
    return true;
  }
};

// ModelHosting.Infer: writes the conversation down where there is one, then generates.
class InferStream final : public ForwardStream<corpgrid::v1::GenerateResponse> {
 public:
  InferStream(std::shared_ptr<rpc::WorkerChannel> channel, corpgrid::v1::InferRequest request)
      : ForwardStream(std::move(channel)), request_(std::move(request)) {}

  void BeginInference();

  void OnResponse(std::string response) override;
  void OnEnd(absl::Status status) override;

 private:
  bool Fill(std::string response, corpgrid::v1::GenerateResponse* message) override {
    return message->ParseFromString(response);
  }

  // Of the calls to the worker, one after the other, alone.
  corpgrid::v1::InferRequest request_;
  bool renders_ = false;
};

}  // namespace corpgrid::scheduler
