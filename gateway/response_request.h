#pragma once

#include "absl/status/statusor.h"
#include "gateway/chat_request.h"

namespace corpgrid::gateway {

// A request to /v1/responses that makes sense, as the chat that it means.
struct ResponseRequest {
  ChatRequest chat;
  Json echo;  // the fields that the answer repeats
};

// The stateless part of that API: what is kept between requests is refused. Errors: InvalidArgument
// that names the field; in messages and tools as the chat API calls it.
absl::StatusOr<ResponseRequest> ParseResponseRequest(const Json& body);

}  // namespace corpgrid::gateway
