#include "platform/memory.h"

#include <charconv>
#include <optional>
#include <string>
#include <string_view>

#include "base/status_macros.h"
#include "platform/file.h"

namespace corpgrid::platform {
namespace {

// X of the line "NAME:   X kB", in bytes.
std::optional<uint64_t> Kilobytes(std::string_view text, std::string_view name) {
  size_t at = text.find(name);
  if (at == std::string_view::npos) return std::nullopt;
  at = text.find_first_of("0123456789", at);
  if (at == std::string_view::npos) return std::nullopt;
  uint64_t value = 0;
  std::from_chars(text.data() + at, text.data() + text.size(), value);
  return value * 1024;
}

}  // namespace

absl::StatusOr<uint64_t> AvailableMemory() {
  ASSIGN_OR_RETURN(const std::string text, ReadSmallFile("/proc/meminfo"));
  if (const auto bytes = Kilobytes(text, "\nMemAvailable:")) return *bytes;
  return absl::UnavailableError("/proc/meminfo does not tell the memory available");
}

absl::StatusOr<MemoryUse> OwnMemory() {
  ASSIGN_OR_RETURN(const std::string status, ReadSmallFile("/proc/self/status"));
  const auto now = Kilobytes(status, "\nVmRSS:"), peak = Kilobytes(status, "\nVmHWM:");
  if (now && peak) return MemoryUse{*now, *peak};
  return absl::UnavailableError("/proc/self/status does not tell the memory in use");
}

}  // namespace corpgrid::platform
