#include "worker/embed_thread.h"

#include <atomic>
#include <utility>

#include "rpc/status.h"

namespace corpgrid::worker {

// Deletes itself when gRPC is done with it, which is after its Finish().
class EmbedThread::Call final : public grpc::ServerUnaryReactor {
 public:
  Call(const corpgrid::v1::EmbedRequest* request, corpgrid::v1::EmbedResponse* response)
      : request_(*request), response_(*response) {}

  const corpgrid::v1::EmbedRequest& request() const { return request_; }
  corpgrid::v1::EmbedResponse& response() { return response_; }
  bool cancelled() const { return cancelled_; }

  void OnCancel() override { cancelled_ = true; }
  void OnDone() override { delete this; }

 private:
  const corpgrid::v1::EmbedRequest& request_;
  corpgrid::v1::EmbedResponse& response_;
  std::atomic<bool> cancelled_ = false;
};

EmbedThread::EmbedThread(decltype(HostedModel::embed) embed)
    : embed_(std::move(embed)), thread_([this] { Run(); }) {}

grpc::ServerUnaryReactor* EmbedThread::Start(const corpgrid::v1::EmbedRequest* request,
                                             corpgrid::v1::EmbedResponse* response) {
  auto* call = new Call(request, response);
  absl::Status status;
  {
    absl::MutexLock lock(&mutex_);
    if (stop_) {
      status = absl::UnavailableError("the model is being unloaded");
    } else if (waiting_.size() >= kMaxWaiting) {
      status = absl::ResourceExhaustedError("too many wait for embeddings; try again later");
    } else {
      waiting_.push_back(call);
      return call;
    }
  }
  call->Finish(rpc::ToGrpc(status));
  return call;
}

void EmbedThread::Stop() {
  absl::MutexLock stopping(&stopping_);
  {
    absl::MutexLock lock(&mutex_);
    stop_ = true;
  }
  if (thread_.joinable()) thread_.join();
}

void EmbedThread::Run() {
  const auto due = [this]()
                       ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return stop_ || !waiting_.empty(); };
  while (true) {
    Call* call = nullptr;
    bool stop = false;
    {
      absl::MutexLock lock(&mutex_);
      mutex_.Await(absl::Condition(&due));
      if (waiting_.empty()) return;
      call = waiting_.front();
      waiting_.pop_front();
      stop = stop_;
    }
    if (stop) {
      call->Finish(rpc::ToGrpc(absl::UnavailableError("the model is being unloaded")));
    } else {
      Compute(call);
    }
  }
}

void EmbedThread::Compute(Call* call) {
  busy_ = true;
  absl::Status status;
  for (const corpgrid::v1::TokenList& text : call->request().texts()) {
    if (call->cancelled()) status = absl::CancelledError("nobody waits for it");
    if (!status.ok()) break;
    const auto values = embed_({text.tokens().data(), static_cast<size_t>(text.tokens_size())});
    status = values.status();
    if (!status.ok()) break;
    ++embedded_;
    call->response().add_embeddings()->mutable_values()->Add(values->begin(), values->end());
  }
  busy_ = false;
  call->Finish(rpc::ToGrpc(status));
}

}  // namespace corpgrid::worker
