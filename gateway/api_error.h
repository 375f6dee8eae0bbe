#pragma once

#include <string>
#include <string_view>

#include "absl/status/status.h"

namespace corpgrid::gateway {

// A status that also says which field of the request is wrong, and the API's word for what is
// ("context_length_exceeded"); either may be empty.
absl::Status ApiError(absl::StatusCode code, std::string_view message, std::string_view param,
                      std::string_view api_code = "");

// A 400 about a field.
absl::Status BadField(std::string_view param, std::string_view message);

// The same status, which tells the client to come again after so many seconds.
absl::Status WithRetryAfter(absl::Status status, int64_t seconds);
int64_t RetryAfter(const absl::Status& status);  // 0: it does not say

// The HTTP status that says this best.
unsigned HttpStatusOf(const absl::Status& status);

// {"error": {"message", "type", "param", "code"}}, as the OpenAI API has it.
std::string ErrorJson(const absl::Status& status);
// The same for an error of the HTTP server's own.
std::string ErrorJson(unsigned http_status, std::string_view message);

}  // namespace corpgrid::gateway
