#include "worker/generate_stream.h"

#include <utility>

#include "rpc/status.h"
#include "worker/messages.h"

namespace corpgrid::worker {

void GenerateStream::Start(inference::Request request,
                           const std::shared_ptr<GenerateStream>& self) {
  self_ = self;
  {
    absl::MutexLock lock(&mutex_);
    choices_left_ = request.choices;
  }
  const absl::StatusOr<uint64_t> id = engine_->Submit(std::move(request), self);
  absl::MutexLock lock(&mutex_);
  if (!id.ok()) {
    failed_ = id.status();
    choices_left_ = 0;
    GoOn();
    return;
  }
  request_ = *id;
  if (cancelled_) engine_->Cancel(request_);
}

grpc::ServerWriteReactor<corpgrid::v1::GenerateResponse>* GenerateStream::Fail(
    const absl::Status& status) {
  class Failed final : public grpc::ServerWriteReactor<corpgrid::v1::GenerateResponse> {
   public:
    explicit Failed(const absl::Status& status) { Finish(rpc::ToGrpc(status)); }
    void OnDone() override { delete this; }
  };
  return new Failed(status);
}

void GenerateStream::OnDelta(const inference::Delta& delta) {
  absl::MutexLock lock(&mutex_);
  Fill(delta, *vocabulary_, waiting_.add_pieces());
  GoOn();
}

void GenerateStream::OnEnd(const inference::End& end) {
  absl::MutexLock lock(&mutex_);
  --choices_left_;
  if (end.finish == inference::Finish::kFailed) {
    failed_ = end.status;
  } else if (end.finish != inference::Finish::kCancelled) {
    Fill(end, waiting_.add_ends());
  }
  GoOn();
}

void GenerateStream::GoOn() {
  if (writing_ || finished_) return;
  if (waiting_.pieces_size() + waiting_.ends_size() > 0 && !cancelled_) {
    writing_ = true;
    written_.Clear();
    written_.Swap(&waiting_);
    StartWrite(&written_);
  } else if (choices_left_ == 0) {
    finished_ = true;
    Finish(cancelled_ ? grpc::Status::CANCELLED : rpc::ToGrpc(failed_));
  }
}

void GenerateStream::OnWriteDone(bool ok) {
  absl::MutexLock lock(&mutex_);
  writing_ = false;
  if (!ok) cancelled_ = true;
  GoOn();
}

void GenerateStream::OnCancel() {
  absl::MutexLock lock(&mutex_);
  cancelled_ = true;
  if (request_ != 0) engine_->Cancel(request_);
}

void GenerateStream::OnDone() {
  // The engine may hold this listener a little longer.
  const std::shared_ptr<GenerateStream> self = std::move(self_);
}

}  // namespace corpgrid::worker
