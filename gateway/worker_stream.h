#pragma once

#include <algorithm>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/this_coro.hpp>
#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>

#include "absl/status/statusor.h"
#include "corpgrid/v1/worker.pb.h"
#include "http/message.h"
#include "rpc/worker_channel.h"

namespace corpgrid::gateway {

using http::Task;
using TimePoint = boost::asio::steady_timer::time_point;

// A worker's call for a coroutine. It is used and destroyed on the strand that it was made for; to
// destroy it cancels the call. What was heard and not read waits, up to kMaxWaitingBytes: then the
// call has failed.
class RawStream {
 public:
  static constexpr size_t kMaxWaitingBytes = size_t{64} << 20;
  RawStream(const boost::asio::any_io_executor& strand, rpc::WorkerChannel* channel,
            std::string_view method, const std::string& request);
  RawStream(RawStream&&) = default;
  ~RawStream();

  // The next response; nothing after the last. Errors: how the call failed; Unavailable when
  // `deadline` comes first.
  Task<absl::StatusOr<std::optional<std::string>>> Next(TimePoint deadline = TimePoint::max());

 private:
  class Inbox;

  std::unique_ptr<boost::asio::steady_timer> wake_;
  std::shared_ptr<Inbox> inbox_;
  std::unique_ptr<rpc::WorkerCall> call_;
};

// How long a worker may take for a call that computes nothing with its model, and for embeddings.
// The first one may have to wait until the model is loaded again: for two minutes (scheduler/
// waiting_channel.h).
constexpr std::chrono::seconds kShortCall(180), kLongCall(3600);

absl::Status NotReadable(std::string_view method);

// Whether an answer is one to a request for so many choices. A worker may be on a device that lies.
bool Fits(const corpgrid::v1::GenerateResponse& response, uint32_t choices);
template <typename Response>
bool Fits(const Response&, uint32_t) {
  return true;
}

// The same with messages.
template <typename Response>
class WorkerStream {
 public:
  template <typename Request>
  WorkerStream(const boost::asio::any_io_executor& strand, rpc::WorkerChannel* channel,
               std::string_view method, const Request& request)
      : method_(method), raw_(strand, channel, method, request.SerializeAsString()) {
    if constexpr (std::is_same_v<Request, corpgrid::v1::GenerateRequest>) {
      choices_ = std::max(1u, request.choices());
    }
  }

  Task<absl::StatusOr<std::optional<Response>>> Next(TimePoint deadline = TimePoint::max()) {
    absl::StatusOr<std::optional<std::string>> bytes = co_await raw_.Next(deadline);
    if (!bytes.ok()) co_return bytes.status();
    if (!bytes->has_value()) co_return std::optional<Response>();
    Response response;
    if (!response.ParseFromString(**bytes) || !Fits(response, choices_)) {
      co_return NotReadable(method_);
    }
    co_return std::optional<Response>(std::move(response));
  }

 private:
  std::string method_;
  uint32_t choices_ = 0;  // that were asked for
  RawStream raw_;
};

// A call with one response. It fails with Unavailable when there is none `within` that time.
template <typename Response, typename Request>
Task<absl::StatusOr<Response>> CallWorker(std::shared_ptr<rpc::WorkerChannel> channel,
                                          std::string method, Request request,
                                          std::chrono::seconds within) {
  const TimePoint deadline = std::chrono::steady_clock::now() + within;
  const auto strand = co_await boost::asio::this_coro::executor;
  WorkerStream<Response> stream(strand, channel.get(), method, request);
  absl::StatusOr<std::optional<Response>> response = co_await stream.Next(deadline);
  if (!response.ok()) co_return response.status();
  if (!response->has_value()) co_return NotReadable(method);
  co_return **std::move(response);
}

}  // namespace corpgrid::gateway
