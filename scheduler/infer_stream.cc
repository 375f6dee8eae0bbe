#include "scheduler/infer_stream.h"

#include <utility>

#include "corpgrid/v1/worker.pb.h"
#include "rpc/status.h"

namespace corpgrid::scheduler {
namespace pb = corpgrid::v1;

// Hears of one call to the worker.
class InferStream::Step final : public rpc::CallListener {
 public:
  Step(std::shared_ptr<InferStream> stream, bool renders)
      : stream_(std::move(stream)), renders_(renders) {}
  void OnResponse(std::string response) override {
    stream_->OnResponse(renders_, std::move(response));
  }
  void OnEnd(absl::Status status) override { stream_->OnEnd(renders_, status); }

 private:
  const std::shared_ptr<InferStream> stream_;
  const bool renders_;
};

grpc::ServerWriteReactor<pb::GenerateResponse>* InferStream::Begin(ModelDirectory* directory,
                                                                   pb::InferRequest request,
                                                                   const absl::Status& who) {
  std::shared_ptr<InferStream> stream(new InferStream(directory, std::move(request)));
  stream->self_ = stream;
  if (who.ok()) {
    stream->Find();
  } else {
    stream->End(who);
  }
  return stream.get();
}

void InferStream::Find() {
  directory_->Find(request_.model(), [self = shared_from_this()](auto channel) {
    self->OnFound(std::move(channel));
  });
}

void InferStream::OnFound(absl::StatusOr<std::shared_ptr<rpc::WorkerChannel>> channel) {
  if (absl::IsUnavailable(channel.status()) && absl::Now() < give_up_) {
    const absl::MutexLock lock(&mutex_);
    if (over_) return;
    alarm_.Set(absl::ToChronoTime(absl::Now() + kRetry),
               [self = shared_from_this()](bool) { self->Find(); });
    return;
  }
  if (!channel.ok()) return End(channel.status());
  channel_ = *std::move(channel);
  request_.messages().empty() ? Generate() : Render();
}

void InferStream::Render() {
  pb::RenderChatRequest render;
  render.set_messages(request_.messages());
  StartCall("RenderChat", render.SerializeAsString(), /*renders=*/true);
}

void InferStream::Generate() {
  StartCall("Generate", request_.generate().SerializeAsString(), /*renders=*/false);
}

void InferStream::StartCall(std::string_view method, const std::string& request, bool renders) {
  auto call = channel_->Start(method, request, std::make_shared<Step>(shared_from_this(), renders));
  {
    const absl::MutexLock lock(&mutex_);
    if (!over_) call_.swap(call);
  }  // What is left of it is cancelled here.
}

void InferStream::OnResponse(bool renders, std::string response) {
  if (renders) {
    pb::RenderChatResponse rendered;
    if (!rendered.ParseFromString(response)) return;
    request_.mutable_generate()->set_text(rendered.text());
    request_.mutable_generate()->set_special(true);
    return;
  }
  pb::GenerateResponse generated;
  if (!generated.ParseFromString(response)) {
    return End(absl::InternalError("the device's answer is none"));
  }
  const absl::MutexLock lock(&mutex_);
  if (over_) return;
  waiting_.push_back(std::move(generated));
  GoOn();
}

void InferStream::OnEnd(bool renders, const absl::Status& status) {
  if (renders && status.ok()) {
    Generate();
  } else {
    End(status);
  }
}

void InferStream::End(const absl::Status& status) {
  std::unique_ptr<rpc::WorkerCall> call;
  const absl::MutexLock lock(&mutex_);
  if (std::exchange(over_, true)) return;
  status_ = status;
  call_.swap(call);
  GoOn();
}

void InferStream::GoOn() {
  if (writing_ || finished_) return;
  if (!waiting_.empty()) {
    written_ = std::move(waiting_.front());
    waiting_.pop_front();
    writing_ = true;
    StartWrite(&written_);
  } else if (over_) {
    finished_ = true;
    Finish(rpc::ToGrpc(status_));
  }
}

void InferStream::OnWriteDone(bool ok) {
  const absl::MutexLock lock(&mutex_);
  writing_ = false;
  if (!ok) waiting_.clear();
  GoOn();
}

void InferStream::OnCancel() {
  alarm_.Cancel();
  End(absl::CancelledError("the caller went away"));
}

void InferStream::OnDone() { self_.reset(); }

}  // namespace corpgrid::scheduler
