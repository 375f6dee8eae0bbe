#pragma once

#include <grpcpp/channel.h>

#include <memory>
#include <string>
#include <string_view>

#include "absl/status/status.h"

namespace corpgrid::rpc {

// Hears of a call, one after the other, on a thread of the channel's: it must not wait.
class CallListener {
 public:
  virtual ~CallListener() = default;
  virtual void OnResponse(std::string response) = 0;  // serialised
  // Once, the last. Unavailable: the worker is gone, or cannot be reached.
  virtual void OnEnd(absl::Status status) = 0;
};

// A call that was made. To destroy it cancels what the worker does for it; the listener, which is
// kept until OnEnd(), may still hear something after that.
class WorkerCall {
 public:
  virtual ~WorkerCall() = default;
};

// The way to one worker (proto/corpgrid/v1/worker.proto), wherever it is. Any thread.
class WorkerChannel {
 public:
  virtual ~WorkerChannel() = default;

  // Calls a method ("Generate") with a serialised request; the answer is a stream of serialised
  // responses, of one for most methods. Errors come by the listener.
  virtual std::unique_ptr<WorkerCall> Start(std::string_view method, const std::string& request,
                                            std::shared_ptr<CallListener> listener) = 0;
};

// Whether a method of Worker answers for a model: those that may be called from afar.
bool IsAnswer(std::string_view method);

// Whether a device's agent itself answers, by the same stream: it is sent models.
bool IsForAgent(std::string_view method);

// The way to a worker that listens at a gRPC address ("unix:PATH"), for its answers and for all
// that it does.
std::shared_ptr<WorkerChannel> ConnectWorker(const std::string& address);
std::shared_ptr<grpc::Channel> ChannelToWorker(const std::string& address);

}  // namespace corpgrid::rpc
