#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

namespace corpgrid {

// "512 MiB", "1.5 GiB", "17 B".
std::string FormatBytes(uint64_t bytes);

// Parses "64MiB", "1.5 GB", "4096"; units B, KB..EB (powers of 1000) and KiB..EiB (powers of 1024).
absl::StatusOr<uint64_t> ParseBytes(std::string_view text);

// "1.2 s", "3 min 4 s", "2 h 5 min".
std::string FormatDuration(int64_t ms);

// Parses "90s", "10min", "2h", "1.5h", "500ms", "1d" into milliseconds.
absl::StatusOr<int64_t> ParseDurationMs(std::string_view text);

// The candidate closest to `word` by edit distance, or "" when none is within a third of its
// length.
std::string Nearest(std::string_view word, const std::vector<std::string>& candidates);

}  // namespace corpgrid
