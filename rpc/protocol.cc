#include "rpc/protocol.h"

#include <algorithm>
#include <charconv>
#include <cstdlib>
#include <map>

#include "fmt/format.h"

namespace corpgrid::rpc {
namespace {

constexpr char kPretend[] = "CORPGRID_PRETEND_PROTOCOL";

ProtocolRange ReadOurs() {
  // Before there are threads that could change it: the daemons and commands ask while they start.
  const char* const pretended = std::getenv(kPretend);  // NOLINT(concurrency-mt-unsafe)
  if (pretended != nullptr) return ParseProtocol(pretended);
  return {.oldest = kOldestProtocol, .newest = kProtocol};
}

ProtocolRange Find(const std::multimap<grpc::string_ref, grpc::string_ref>& metadata) {
  const auto it = metadata.find(kProtocolKey);
  if (it == metadata.end()) return {};
  return ParseProtocol({it->second.data(), it->second.size()});
}

// "protocol version 1", "protocol versions 1 to 2".
std::string Spoken(const ProtocolRange& range) {
  if (range.oldest == range.newest) return fmt::format("protocol version {}", range.newest);
  return fmt::format("protocol versions {} to {}", range.oldest, range.newest);
}

}  // namespace

std::string ProtocolRange::ToText() const { return fmt::format("{}-{}", oldest, newest); }

const ProtocolRange& OurProtocol() {
  static const ProtocolRange ours = ReadOurs();
  return ours;
}

ProtocolRange ParseProtocol(std::string_view text) {
  ProtocolRange range;
  const char* const end = text.data() + text.size();
  const auto oldest = std::from_chars(text.data(), end, range.oldest);
  if (oldest.ec != std::errc() || oldest.ptr == end || *oldest.ptr != '-') return {};
  const auto newest = std::from_chars(oldest.ptr + 1, end, range.newest);
  if (newest.ec != std::errc() || newest.ptr != end) return {};
  return range.oldest >= 1 && range.oldest <= range.newest ? range : ProtocolRange();
}

absl::StatusOr<uint32_t> AgreeOnProtocol(const ProtocolRange& scheduler, std::string_view caller,
                                         const ProtocolRange& callers) {
  const uint32_t newest = std::min(scheduler.newest, callers.newest);
  if (newest >= std::max(scheduler.oldest, callers.oldest)) return newest;
  const bool scheduler_is_old = scheduler.newest < callers.oldest;
  return absl::FailedPreconditionError(
      fmt::format("the {} speaks {}, the scheduler {}: upgrade the {} first", caller,
                  Spoken(callers), Spoken(scheduler), scheduler_is_old ? "scheduler" : caller));
}

void TellProtocol(grpc::ServerContextBase* context) {
  context->AddInitialMetadata(kProtocolKey, OurProtocol().ToText());
}

void TellProtocol(grpc::ClientContext* context) {
  context->AddMetadata(kProtocolKey, OurProtocol().ToText());
}

ProtocolRange CallersProtocol(const grpc::ServerContextBase& context) {
  return Find(context.client_metadata());
}

ProtocolRange SchedulersProtocol(const grpc::ClientContext& context) {
  return Find(context.GetServerInitialMetadata());
}

}  // namespace corpgrid::rpc
