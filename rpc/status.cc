#include "rpc/status.h"

#include <string>

#include "absl/strings/cord.h"

namespace corpgrid::rpc {
namespace {

// What gRPC itself answers when all threads of a server have calls.
constexpr char kNoThread[] = "Server Threadpool Exhausted";
constexpr char kFacts[] = "corpgrid/facts";

}  // namespace

absl::Status FromGrpc(const grpc::Status& status) {
  if (status.error_code() == grpc::StatusCode::RESOURCE_EXHAUSTED &&
      status.error_message() == kNoThread) {
    return absl::UnavailableError("the server has no thread left for this call");
  }
  if (status.error_code() == grpc::StatusCode::CANCELLED) {
    return absl::UnavailableError("the call was cancelled; the server is stopping");
  }
  absl::Status made(static_cast<absl::StatusCode>(status.error_code()), status.error_message());
  if (!status.error_details().empty()) made.SetPayload(kFacts, absl::Cord(status.error_details()));
  return made;
}

grpc::Status ToGrpc(const absl::Status& status) {
  return grpc::Status(static_cast<grpc::StatusCode>(status.raw_code()),
                      std::string(status.message()),
                      std::string(status.GetPayload(kFacts).value_or(absl::Cord())));
}

absl::Status WithFacts(absl::Status status, const corpgrid::v1::ErrorFacts& facts) {
  status.SetPayload(kFacts, absl::Cord(facts.SerializeAsString()));
  return status;
}

corpgrid::v1::ErrorFacts FactsOf(const absl::Status& status) {
  corpgrid::v1::ErrorFacts facts;
  const auto found = status.GetPayload(kFacts);
  if (!found || !facts.ParseFromString(std::string(*found))) return {};
  return facts;
}

}  // namespace corpgrid::rpc
