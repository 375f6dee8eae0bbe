#include "gateway/api_error.h"

#include <algorithm>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <utility>

#include "absl/strings/cord.h"
#include "rpc/status.h"

namespace corpgrid::gateway {
namespace {

using Json = nlohmann::ordered_json;

constexpr char kParam[] = "corpgrid/param";
constexpr char kCode[] = "corpgrid/code";
constexpr uint64_t kMostRetryAfterS = 86'400;

std::string Payload(const absl::Status& status, const char* url) {
  const auto found = status.GetPayload(url);
  return found ? std::string(*found) : "";
}

Json OrNull(const std::string& text) { return text.empty() ? Json() : Json(text); }

std::string_view TypeOf(unsigned status) {
  switch (status) {
    case 401:
      return "authentication_error";
    case 403:
      return "permission_error";
    case 429:
      return "rate_limit_error";
    default:
      return status < 500 ? "invalid_request_error" : "server_error";
  }
}

std::string Write(unsigned status, std::string_view message, const std::string& param,
                  const std::string& code) {
  const Json error = {{"error",
                       {{"message", message},
                        {"type", TypeOf(status)},
                        {"param", OrNull(param)},
                        {"code", OrNull(code)}}}};
  return error.dump(-1, ' ', false, Json::error_handler_t::replace);
}

}  // namespace

absl::Status ApiError(absl::StatusCode code, std::string_view message, std::string_view param,
                      std::string_view api_code) {
  absl::Status status(code, std::string(message));
  if (!param.empty()) status.SetPayload(kParam, absl::Cord(std::string(param)));
  if (!api_code.empty()) status.SetPayload(kCode, absl::Cord(std::string(api_code)));
  return status;
}

absl::Status BadField(std::string_view param, std::string_view message) {
  return ApiError(absl::StatusCode::kInvalidArgument, message, param);
}

absl::Status WithRetryAfter(absl::Status status, int64_t seconds) {
  v1::ErrorFacts facts;
  facts.set_retry_after_s(static_cast<uint64_t>(seconds));
  return rpc::WithFacts(std::move(status), facts);
}

int64_t RetryAfter(const absl::Status& status) {
  // It may be a device's word.
  return static_cast<int64_t>(std::min(rpc::FactsOf(status).retry_after_s(), kMostRetryAfterS));
}

unsigned HttpStatusOf(const absl::Status& status) {
  switch (status.code()) {
    case absl::StatusCode::kOk:
      return 200;
    case absl::StatusCode::kInvalidArgument:
    case absl::StatusCode::kFailedPrecondition:
    case absl::StatusCode::kOutOfRange:
    case absl::StatusCode::kUnimplemented:
      return 400;
    case absl::StatusCode::kUnauthenticated:
      return 401;
    case absl::StatusCode::kPermissionDenied:
      return 403;
    case absl::StatusCode::kNotFound:
      return 404;
    case absl::StatusCode::kResourceExhausted:
      return 429;
    case absl::StatusCode::kUnavailable:
      return 503;
    default:
      return 500;
  }
}

std::string ErrorJson(const absl::Status& status) {
  const unsigned http_status = HttpStatusOf(status);
  std::string code = Payload(status, kCode);
  if (code.empty() && http_status == 429) code = "rate_limit_exceeded";
  return Write(http_status, std::string(status.message()), Payload(status, kParam), code);
}

std::string ErrorJson(unsigned http_status, std::string_view message) {
  return Write(http_status, message, "", "");
}

}  // namespace corpgrid::gateway
