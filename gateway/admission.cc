#include "gateway/admission.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/match.h"
#include "base/status_macros.h"
#include "fmt/format.h"
#include "gateway/api_error.h"

namespace corpgrid::gateway {
namespace {

constexpr absl::string_view kScheme = "Bearer ";

}  // namespace

absl::Status Admission::Ticket::CheckModel(std::string_view model) const {
  if (key_.Allows(model)) return absl::OkStatus();
  return ApiError(absl::StatusCode::kPermissionDenied,
                  fmt::format("this API key is not for the model \"{}\"", model), "model",
                  "model_not_allowed");
}

absl::StatusOr<ApiKey> Admission::FindKey(std::string_view authorization) const {
  // Schemes have no case (RFC 9110, 11.1).
  if (!absl::StartsWithIgnoreCase({authorization.data(), authorization.size()}, kScheme)) {
    return ApiError(absl::StatusCode::kUnauthenticated,
                    "no API key is given; send the header \"Authorization: Bearer KEY\"", "",
                    "missing_api_key");
  }
  authorization.remove_prefix(kScheme.size());
  ASSIGN_OR_RETURN(ApiKey key, keys_->Find(authorization));
  if (key.expires_s > 0 && clock_->WallMs() / 1000 >= key.expires_s) {
    return ApiError(absl::StatusCode::kUnauthenticated,
                    "this API key has expired; ask who runs this server for a new one", "",
                    "expired_api_key");
  }
  return key;
}

absl::StatusOr<std::unique_ptr<Admission::Ticket>> Admission::Enter(
    std::string_view authorization) {
  ASSIGN_OR_RETURN(ApiKey key, FindKey(authorization));
  absl::MutexLock lock(&mutex_);
  RETURN_IF_ERROR(CheckUse(key));
  ++uses_[key.hash].running;
  return std::make_unique<Ticket>(this, std::move(key));
}

Admission::Use& Admission::Refilled(const ApiKey& key) {
  const int64_t now_ms = clock_->MonotonicMs();
  Use& use = uses_[key.hash];
  const auto most = static_cast<double>(key.tokens_per_minute);
  use.tokens =
      use.most == 0
          ? most
          : std::min(most, use.tokens + most * static_cast<double>(now_ms - use.as_of_ms) / 60'000);
  use.most = most;
  use.as_of_ms = now_ms;
  return use;
}

absl::Status Admission::CheckUse(const ApiKey& key) {
  const Use& use = Refilled(key);
  if (key.max_concurrent > 0 && use.running >= key.max_concurrent) {
    return WithRetryAfter(
        ApiError(absl::StatusCode::kResourceExhausted,
                 fmt::format("this API key has {} requests running, as many as it may at once; "
                             "wait until one is done",
                             use.running),
                 "", "rate_limit_exceeded"),
        1);
  }
  if (key.tokens_per_minute == 0 || use.tokens > 0) return absl::OkStatus();
  const auto per_second = static_cast<double>(key.tokens_per_minute) / 60;
  const auto wait_s = static_cast<int64_t>(std::ceil((1 - use.tokens) / per_second));
  return WithRetryAfter(
      ApiError(absl::StatusCode::kResourceExhausted,
               fmt::format("this API key may use {} tokens a minute, and has; come again in {} s",
                           key.tokens_per_minute, wait_s),
               "", "rate_limit_exceeded"),
      wait_s);
}

void Admission::Leave(const ApiKey& key) {
  absl::MutexLock lock(&mutex_);
  --uses_[key.hash].running;
  if (uses_.size() <= kMaxUses) return;
  const int64_t full_ms = clock_->MonotonicMs() - 3'600'000;
  std::erase_if(uses_, [&](const auto& entry) {
    return entry.second.running == 0 && entry.second.as_of_ms < full_ms;
  });
}

void Admission::Charge(const ApiKey& key, uint64_t tokens) {
  if (key.tokens_per_minute == 0) return;
  absl::MutexLock lock(&mutex_);
  Refilled(key).tokens -= static_cast<double>(tokens);
}

}  // namespace corpgrid::gateway
