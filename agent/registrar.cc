#include "agent/registrar.h"

#include <spdlog/spdlog.h>

#include <utility>

#include "base/status_macros.h"
#include "rpc/connect.h"
#include "rpc/protocol.h"
#include "rpc/registration.h"
#include "rpc/status.h"

namespace corpgrid::agent {
namespace {

constexpr int64_t kCallDeadlineMs = 10'000;
constexpr size_t kNonceBytes = 16;
constexpr int64_t kMinHeartbeatMs = 50;
constexpr int64_t kMaxHeartbeatMs = 60'000;

// One of the two is being upgraded: what is wrong now will be right, so that the agent waits, and
// keeps what it has, as it does for a scheduler that is away.
absl::Status Untimely(const absl::Status& status) {
  return absl::UnavailableError(std::string(status.message()));
}

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
  rpc::PrepareCall(&context, kCallDeadlineMs, rpc::kSessionKey, "");
  StopSignal::Scope scope(stop_, &context);
  corpgrid::v1::RegisterAgentResponse reply;
  const absl::Status status = rpc::FromGrpc(stub_->RegisterAgent(&context, request, &reply));
  if (absl::IsFailedPrecondition(status)) return Untimely(status);
  RETURN_IF_ERROR(status);
  const absl::StatusOr<uint32_t> agreed =
      rpc::AgreeOnProtocol(rpc::SchedulersProtocol(context), "agent", rpc::OurProtocol());
  if (!agreed.ok()) return Untimely(agreed.status());
  const Registration registration{
      .grid_id = reply.grid_id(),
      .device = DeviceId{reply.device_id()},
      .owner = reply.owner(),
      .session = reply.session(),
      .heartbeat_ms = std::clamp<int64_t>(reply.heartbeat_ms(), kMinHeartbeatMs, kMaxHeartbeatMs),
      .lease_ttl_ms = reply.lease_ttl_ms(),
      .protocol = *agreed,
      .batch_signatures = *agreed >= 2 || reply.batch_signatures(),
  };
  spdlog::info("registered as device {} of {} in grid {}, protocol version {}",
               registration.device.value, registration.owner, registration.grid_id,
               registration.protocol);
  return std::make_shared<const Registration>(registration);
}

}  // namespace corpgrid::agent
