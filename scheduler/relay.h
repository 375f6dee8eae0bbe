#pragma once

#include <grpcpp/support/server_callback.h>

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "base/ids.h"
#include "corpgrid/v1/hosting.pb.h"
#include "rpc/worker_channel.h"

namespace corpgrid::scheduler {

class RelayStream;

// The ways to the workers of devices: agents open a stream each, and calls go down to them, so that
// nobody needs a way into their networks. Any thread.
class Relay {
 public:
  using Reactor = grpc::ServerBidiReactor<corpgrid::v1::RelayUp, corpgrid::v1::RelayDown>;

  ~Relay();

  // A device's stream; the one that it had before ends.
  Reactor* Attach(DeviceId device);

  // The channel to the worker that hosts `model` on the device; without one to its agent. Its calls
  // end with Unavailable when the device has no stream, or loses it. Valid as long as the relay.
  std::shared_ptr<rpc::WorkerChannel> ChannelTo(DeviceId device, const std::string& model);

  // How many calls the device has; nothing when it has no stream.
  std::optional<size_t> CallsOf(DeviceId device);

  // The device was heard at `now_ms`.
  void Heard(DeviceId device, int64_t now_ms);
  // Ends the streams of devices that were not heard for `silent_ms`: one that was cut off does not
  // close its stream, and those whose calls it has would wait.
  void EndSilent(int64_t now_ms, int64_t silent_ms);

  // Ends all streams.
  void Stop();

 private:
  friend class RelayStream;
  friend class RelayChannel;

  std::shared_ptr<RelayStream> Find(DeviceId device);
  void Detach(const RelayStream* stream, DeviceId device);

  absl::Mutex mutex_;
  std::map<DeviceId, std::shared_ptr<RelayStream>> streams_ ABSL_GUARDED_BY(mutex_);
  bool stopped_ ABSL_GUARDED_BY(mutex_) = false;
};

}  // namespace corpgrid::scheduler
