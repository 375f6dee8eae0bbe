#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "base/text.h"

// Sizes and durations as people type them. What is understood must survive its own rendering.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  if (const auto bytes = corpgrid::ParseBytes(text); bytes.ok()) {
    const auto again = corpgrid::ParseBytes(corpgrid::FormatBytes(*bytes));
    if (!again.ok()) std::abort();
  }
  if (const auto ms = corpgrid::ParseDurationMs(text); ms.ok() && *ms < 0) std::abort();
  corpgrid::Nearest(text, {"shards", "redundancy", ""});
  return 0;
}
