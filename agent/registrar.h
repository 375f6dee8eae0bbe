#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "agent/stop_signal.h"
#include "base/clock.h"
#include "base/ids.h"
#include "corpgrid/v1/scheduler.grpc.pb.h"
#include "crypto/signature.h"

namespace corpgrid::agent {

// What the scheduler said when it last registered this device.
struct Registration {
  std::string grid_id;
  DeviceId device;
  std::string owner;
  std::string session;
  int64_t heartbeat_ms = 0;
  int64_t lease_ttl_ms = 0;
  uint32_t protocol = 1;          // the version that is spoken (rpc/protocol.h)
  bool batch_signatures = false;  // it takes one signature for all results of a call
};

using ConditionFunction = std::function<corpgrid::v1::Condition()>;

// Keeps this device registered. A scheduler that restarted knows no sessions; the device then
// registers again and goes on with what it holds. One that speaks no version of our protocol, or
// refuses ours, counts as Unavailable: it or this agent is about to be upgraded. Any thread.
class Registrar {
 public:
  struct Device {
    corpgrid::v1::DeviceInfo info;
    std::string join_token;
  };

  // All pointers must outlive the registrar.
  Registrar(corpgrid::v1::Scheduler::StubInterface* stub, const crypto::KeyPair* key, Device device,
            ConditionFunction condition, const Clock* clock, StopSignal* stop);

  // The registration in force; registers, with one call, when there is none. Errors: of that call.
  absl::StatusOr<std::shared_ptr<const Registration>> Current();

  // `registration` is in force no longer: the scheduler did not know its session.
  void Lost(const Registration& registration);

 private:
  absl::StatusOr<std::shared_ptr<const Registration>> Register();

  corpgrid::v1::Scheduler::StubInterface* const stub_;
  const crypto::KeyPair* const key_;
  const Device device_;
  const ConditionFunction condition_;
  const Clock* const clock_;
  StopSignal* const stop_;
  absl::Mutex registering_;  // held during the call, so that one thread makes it for all
  absl::Mutex mutex_;
  std::shared_ptr<const Registration> current_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace corpgrid::agent
