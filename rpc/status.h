#pragma once

#include <grpcpp/support/status.h>

#include "absl/status/status.h"
#include "corpgrid/v1/worker.pb.h"

namespace corpgrid::rpc {

// The two libraries use the same codes; the message travels unchanged. But a server that is too
// busy for a call is Unavailable here: ResourceExhausted is what a caller asked too much of, for
// good. So is a call that was cancelled: a server that stops cancels those that still come, and a
// caller that cancels its own knows it.
absl::Status FromGrpc(const grpc::Status& status);
grpc::Status ToGrpc(const absl::Status& status);

// An error that says more than its words; it does so on the other side of a call, too. Empty: it
// does not.
absl::Status WithFacts(absl::Status status, const corpgrid::v1::ErrorFacts& facts);
corpgrid::v1::ErrorFacts FactsOf(const absl::Status& status);

}  // namespace corpgrid::rpc
