#include "rpc/status.h"

#include <string>

namespace corpgrid::rpc {
namespace {

// What gRPC itself answers when all threads of a server have calls.
constexpr char kNoThread[] = "Server Threadpool Exhausted";

}  // namespace

absl::Status FromGrpc(const grpc::Status& status) {
  if (status.error_code() == grpc::StatusCode::RESOURCE_EXHAUSTED &&
      status.error_message() == kNoThread) {
    return absl::UnavailableError("the server has no thread left for this call");
  }
  if (status.error_code() == grpc::StatusCode::CANCELLED) {
    return absl::UnavailableError("the call was cancelled; the server is stopping");
  }
  return absl::Status(static_cast<absl::StatusCode>(status.error_code()), status.error_message());
}

grpc::Status ToGrpc(const absl::Status& status) {
  return grpc::Status(static_cast<grpc::StatusCode>(status.raw_code()),
                      std::string(status.message()));
}

}  // namespace corpgrid::rpc
