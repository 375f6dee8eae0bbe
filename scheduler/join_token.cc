#include "scheduler/join_token.h"

#include "base/status_macros.h"

namespace corpgrid::scheduler {
namespace {

constexpr std::string_view kPrefix = "cgj1.";

}  // namespace

std::string JoinToken(const crypto::Hash& secret) { return std::string(kPrefix) + secret.Hex(); }

absl::StatusOr<crypto::Hash> JoinSecretHash(std::string_view token) {
  if (!token.starts_with(kPrefix)) {
    return absl::InvalidArgumentError("this is no join token: one starts with \"cgj1.\"");
  }
  ASSIGN_OR_RETURN(const crypto::Hash secret, crypto::Hash::FromHex(token.substr(kPrefix.size())));
  return crypto::Blake3(secret.Raw());
}

}  // namespace corpgrid::scheduler
