#include "gateway/worker_stream.h"

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <deque>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "fmt/format.h"

namespace corpgrid::gateway {

namespace asio = boost::asio;

using Heard = absl::StatusOr<std::optional<std::string>>;

// Outlives the stream, and even its executor, while the channel holds it: from Close() on it
// touches neither.
class RawStream::Inbox final : public rpc::CallListener,
                               public std::enable_shared_from_this<Inbox> {
 public:
  Inbox(asio::any_io_executor strand, asio::steady_timer* wake)
      : strand_(std::move(strand)), wake_(wake) {}

  void Close() {
    absl::MutexLock lock(&mutex_);
    strand_.reset();
    wake_ = nullptr;
  }

  void OnResponse(std::string response) override {
    absl::MutexLock lock(&mutex_);
    if (end_) return;
    bytes_ += response.size();
    if (bytes_ > kMaxWaitingBytes) {
      end_ = absl::ResourceExhaustedError(fmt::format(
          "the client does not read its answer: {} MiB of it wait", kMaxWaitingBytes >> 20));
    } else {
      responses_.push_back(std::move(response));
    }
    Wake();
  }

  void OnEnd(absl::Status status) override {
    absl::MutexLock lock(&mutex_);
    if (!end_) end_ = std::move(status);
    Wake();
  }

  // Nothing: not yet.
  std::optional<Heard> Take() {
    absl::MutexLock lock(&mutex_);
    if (!responses_.empty()) {
      bytes_ -= responses_.front().size();
      Heard first(absl::in_place, std::move(responses_.front()));
      responses_.pop_front();
      return std::make_optional<Heard>(std::move(first));
    }
    if (!end_) return std::nullopt;
    return std::make_optional<Heard>(end_->ok() ? Heard(absl::in_place, std::nullopt)
                                                : Heard(*end_));
  }

 private:
  void Wake() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    if (!strand_) return;
    asio::post(*strand_, [self = shared_from_this()] {
      absl::MutexLock lock(&self->mutex_);
      if (self->wake_ != nullptr) self->wake_->cancel();
    });
  }

  absl::Mutex mutex_;
  std::optional<asio::any_io_executor> strand_ ABSL_GUARDED_BY(mutex_);
  asio::steady_timer* wake_ ABSL_GUARDED_BY(mutex_);
  std::deque<std::string> responses_ ABSL_GUARDED_BY(mutex_);
  size_t bytes_ ABSL_GUARDED_BY(mutex_) = 0;  // of these
  std::optional<absl::Status> end_ ABSL_GUARDED_BY(mutex_);
};

RawStream::RawStream(const asio::any_io_executor& strand, rpc::WorkerChannel* channel,
                     std::string_view method, const std::string& request)
    : wake_(std::make_unique<asio::steady_timer>(strand)),
      inbox_(std::make_shared<Inbox>(strand, wake_.get())),
      call_(channel->Start(method, request, inbox_)) {}

RawStream::~RawStream() {
  if (inbox_) inbox_->Close();
}

Task<Heard> RawStream::Next(TimePoint deadline) {
  while (true) {
    if (auto taken = inbox_->Take()) co_return *std::move(taken);
    if (std::chrono::steady_clock::now() >= deadline) {
      co_return absl::UnavailableError("the model's worker does not answer; try again later");
    }
    // No wake-up is lost between these two: it comes by this strand.
    wake_->expires_at(deadline);
    // When the client goes, this wait ends, and the next one throws.
    co_await wake_->async_wait(asio::as_tuple(asio::use_awaitable));
  }
}

bool Fits(const corpgrid::v1::GenerateResponse& response, uint32_t choices) {
  const auto fits = [&](const auto& part) { return part.choice() < choices; };
  return std::all_of(response.pieces().begin(), response.pieces().end(), fits) &&
         std::all_of(response.ends().begin(), response.ends().end(), fits);
}

absl::Status NotReadable(std::string_view method) {
  return absl::InternalError(fmt::format("the worker's answer to {} cannot be read", method));
}

}  // namespace corpgrid::gateway
