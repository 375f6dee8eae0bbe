#include "worker/embed_thread.h"

#include <atomic>
#include <string>
#include <utility>

#include "rpc/status.h"

namespace corpgrid::worker {

// Deletes itself when gRPC is done with it, which is after its Finish().
class EmbedThread::Call final : public grpc::ServerUnaryReactor {
 public:
  Call(uint64_t id, const corpgrid::v1::EmbedRequest* request,
       corpgrid::v1::EmbedResponse* response)
      : id_(id), request_(*request), response_(*response) {}

  uint64_t id() const { return id_; }
  const corpgrid::v1::EmbedRequest& request() const { return request_; }
  corpgrid::v1::EmbedResponse& response() { return response_; }
  bool cancelled() const { return cancelled_; }
  // Null after the last.
  const corpgrid::v1::TokenList* next() const {
    const int done = response_.embeddings_size();
    return done < request_.texts_size() ? &request_.texts(done) : nullptr;
  }

  void OnCancel() override { cancelled_ = true; }
  void OnDone() override { delete this; }

 private:
  const uint64_t id_;
  const corpgrid::v1::EmbedRequest& request_;
  corpgrid::v1::EmbedResponse& response_;
  std::atomic<bool> cancelled_ = false;
};

EmbedThread::EmbedThread(decltype(HostedModel::embed) embed)
    : embed_(std::move(embed)), thread_([this] { Run(); }) {}

grpc::ServerUnaryReactor* EmbedThread::Start(const corpgrid::v1::EmbedRequest* request,
                                             corpgrid::v1::EmbedResponse* response) {
  auto* call = new Call(++last_id_, request, response);
  absl::Status status;
  {
    absl::MutexLock lock(&mutex_);
    if (stop_) {
      status = absl::UnavailableError("the model is being unloaded");
    } else if (calls_.size() >= kMaxWaiting) {
      status = absl::ResourceExhaustedError("too many wait for embeddings; try again later");
    } else {
      calls_.emplace(call->id(), call);
      queue_.Push(request->client(), call->id());
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

size_t EmbedThread::calls() const {
  const absl::MutexLock lock(&mutex_);
  return calls_.size();
}

EmbedThread::Call* EmbedThread::Next() {
  const auto due = [this]()
                       ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return stop_ || !calls_.empty(); };
  const absl::MutexLock lock(&mutex_);
  mutex_.Await(absl::Condition(&due));
  return stop_ ? nullptr : calls_.at(*queue_.Take([](uint64_t) { return true; }));
}

void EmbedThread::Run() {
  while (Call* const call = Next()) {
    const std::string& client = call->request().client();
    const uint64_t tokens = call->next() == nullptr ? 0 : call->next()->tokens_size();
    const std::optional<absl::Status> ended = Compute(call);
    {
      const absl::MutexLock lock(&mutex_);
      queue_.Charge(client, tokens);
      if (ended) {
        calls_.erase(call->id());
      } else {
        queue_.Push(client, call->id());
      }
      queue_.Ended(client);
    }
    if (ended) call->Finish(rpc::ToGrpc(*ended));
  }
  const absl::MutexLock lock(&mutex_);
  for (const auto& [id, call] : std::exchange(calls_, {})) {
    call->Finish(rpc::ToGrpc(absl::UnavailableError("the model is being unloaded")));
  }
}

std::optional<absl::Status> EmbedThread::Compute(Call* call) {
  if (call->cancelled()) return absl::CancelledError("nobody waits for it");
  if (call->next() == nullptr) return absl::OkStatus();
  const auto values =
      embed_({call->next()->tokens().data(), static_cast<size_t>(call->next()->tokens_size())});
  if (!values.ok()) return values.status();
  ++embedded_;
  call->response().add_embeddings()->mutable_values()->Add(values->begin(), values->end());
  if (call->next() != nullptr) return std::nullopt;
  return absl::OkStatus();
}

}  // namespace corpgrid::worker
