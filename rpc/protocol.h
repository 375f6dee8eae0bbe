#pragma once

#include <grpcpp/client_context.h>
#include <grpcpp/server_context.h>

#include <cstdint>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "base/version.h"

// How two programs of different versions find out what they may say to each other. Every call tells
// in its metadata which protocol versions the caller speaks; the scheduler tells the same in its
// answer to what each caller asks first, RegisterAgent or GridInfo. The newest that both speak is
// the one they use; where there is none, neither goes on.
namespace corpgrid::rpc {

inline constexpr char kProtocolKey[] = "corpgrid-protocol";

// Every version from `oldest` to `newest`.
struct ProtocolRange {
  uint32_t oldest = 1;
  uint32_t newest = 1;

  std::string ToText() const;  // as it travels: "1-2"
  bool operator==(const ProtocolRange&) const = default;
};

// What this program speaks. CORPGRID_PRETEND_PROTOCOL ("3-4") has it say something else: for tests
// of what happens then, on both sides. Any thread.
const ProtocolRange& OurProtocol();

// The inverse of ToText(). What says nothing, or nothing that can be read, speaks version 1.
ProtocolRange ParseProtocol(std::string_view text);

// The newest version that both speak. Errors: FailedPrecondition with who is too old and what to
// upgrade; `caller` is "agent" or "command line".
absl::StatusOr<uint32_t> AgreeOnProtocol(const ProtocolRange& scheduler, std::string_view caller,
                                         const ProtocolRange& callers);

// Tells the other side what this program speaks: the scheduler, before its answer; the caller,
// before its call (PrepareCall does it).
void TellProtocol(grpc::ServerContextBase* context);
void TellProtocol(grpc::ClientContext* context);

// What the other side told: the caller, and the scheduler that has answered OK.
ProtocolRange CallersProtocol(const grpc::ServerContextBase& context);
ProtocolRange SchedulersProtocol(const grpc::ClientContext& context);

}  // namespace corpgrid::rpc
