#include "agent/registrar.h"

#include <spdlog/spdlog.h>

#include <utility>

#include "base/status_macros.h"
#include "rpc/registration.h"
#include "rpc/status.h"

namespace corpgrid::agent {
namespace {

constexpr int64_t kCallDeadlineMs = 10'000;
constexpr size_t kNonceBytes = 16;
constexpr int64_t kMinHeartbeatMs = 50;
constexpr int64_t kMaxHeartbeatMs = 60'000;

}  // namespace

Registrar::Registrar(corpgrid::v1::Scheduler::StubInterface* stub, const crypto::KeyPair* key,
                     Device device, ConditionFunction condition, const Clock* clock,
                     StopSignal* stop)
    : stub_(stub),
      key_(key),
      device_(std::move(device)),
      condition_(std::move(condition)),
      clock_(clock),
      stop_(stop) {}

absl::StatusOr<std::shared_ptr<const Registration>> Registrar::Current() {
  {
    absl::MutexLock lock(&mutex_);
    if (current_ != nullptr) return current_;
  }
  absl::MutexLock registering(&registering_);
  {
    absl::MutexLock lock(&mutex_);
    if (current_ != nullptr) return current_;
  }
  ASSIGN_OR_RETURN(std::shared_ptr<const Registration> registration, Register());
  absl::MutexLock lock(&mutex_);
  current_ = registration;
  return registration;
}

void Registrar::Lost(const Registration& registration) {
  absl::MutexLock lock(&mutex_);
  if (current_ != nullptr && current_->session == registration.session) current_ = nullptr;
}

absl::StatusOr<std::shared_ptr<const Registration>> Registrar::Register() {
  corpgrid::v1::RegisterAgentRequest request;
  request.set_public_key(std::string(key_->public_key().Raw()));
  *request.mutable_info() = device_.info;
  request.set_join_token(device_.join_token);
  request.set_wall_time_ms(clock_->WallMs());
  request.set_nonce(crypto::RandomBytes(kNonceBytes));
  request.set_signature(key_->Sign(rpc::RegistrationStatement(request)));
  request.set_full_signature(key_->Sign(rpc::FullRegistrationStatement(request)));
  *request.mutable_condition() = condition_();

  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() +
                       std::chrono::milliseconds(kCallDeadlineMs));
  StopSignal::Scope scope(stop_, &context);
  corpgrid::v1::RegisterAgentResponse reply;
  RETURN_IF_ERROR(rpc::FromGrpc(stub_->RegisterAgent(&context, request, &reply)));
  const Registration registration{
      .grid_id = reply.grid_id(),
      .device = DeviceId{reply.device_id()},
      .owner = reply.owner(),
      .session = reply.session(),
      .heartbeat_ms = std::clamp<int64_t>(reply.heartbeat_ms(), kMinHeartbeatMs, kMaxHeartbeatMs),
      .lease_ttl_ms = reply.lease_ttl_ms(),
      .batch_signatures = reply.batch_signatures(),
  };
  spdlog::info("registered as device {} of {} in grid {}", registration.device.value,
               registration.owner, registration.grid_id);
  return std::make_shared<const Registration>(registration);
}

}  // namespace corpgrid::agent
