#include "base/text.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <charconv>
#include <cmath>
#include <numeric>
#include <span>
#include <utility>

#include "base/status_macros.h"
#include "fmt/format.h"

namespace corpgrid {
namespace {

struct Unit {
  std::string_view name;
  double factor;
};

constexpr std::array kByteUnits = {
    Unit{"B", 1},        Unit{"KB", 1e3},     Unit{"MB", 1e6},     Unit{"GB", 1e9},
    Unit{"TB", 1e12},    Unit{"PB", 1e15},    Unit{"EB", 1e18},    Unit{"KiB", 0x1p10},
    Unit{"MiB", 0x1p20}, Unit{"GiB", 0x1p30}, Unit{"TiB", 0x1p40}, Unit{"PiB", 0x1p50},
    Unit{"EiB", 0x1p60},
};
constexpr std::array kDurationUnits = {
    Unit{"ms", 1},  Unit{"s", 1e3},   Unit{"min", 6e4},
    Unit{"m", 6e4}, Unit{"h", 3.6e6}, Unit{"d", 8.64e7},
};

bool SameIgnoringCase(std::string_view a, std::string_view b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(), [](unsigned char x, unsigned char y) {
    return std::tolower(x) == std::tolower(y);
  });
}

std::string_view Strip(std::string_view text) {
  const size_t first = text.find_first_not_of(" \t");
  if (first == std::string_view::npos) return "";
  return text.substr(first, text.find_last_not_of(" \t") - first + 1);
}

absl::StatusOr<double> ParseWithUnit(std::string_view text, std::span<const Unit> units,
                                     bool needs_unit) {
  const std::string_view trimmed = Strip(text);
  const size_t split = std::min(trimmed.find_first_not_of("0123456789."), trimmed.size());
  const std::string_view name = Strip(trimmed.substr(split));
  const bool bare = name.empty() && !needs_unit;
  const auto unit = std::find_if(units.begin(), units.end(),
                                 [&](const Unit& u) { return SameIgnoringCase(u.name, name); });
  double number = 0;
  const auto [end, error] = std::from_chars(trimmed.data(), trimmed.data() + split, number);
  if (error != std::errc() || end != trimmed.data() + split || (unit == units.end() && !bare)) {
    std::string names;
    for (const Unit& u : units) names += fmt::format("{}{}", names.empty() ? "" : ", ", u.name);
    return absl::InvalidArgumentError(
        fmt::format("expected a number and a unit ({}), got \"{}\"", names, text));
  }
  const double value = bare ? number : number * unit->factor;
  if (value > 9.0e18) return absl::InvalidArgumentError(fmt::format("{} is too large", text));
  return value;
}

// Insertions, deletions, replacements and swaps of neighbours that turn `a` into `b`.
size_t EditDistance(std::string_view a, std::string_view b) {
  std::vector<size_t> before(b.size() + 1);
  std::vector<size_t> above(b.size() + 1);
  std::vector<size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), size_t{0});
  for (size_t i = 1; i <= a.size(); ++i) {
    std::swap(before, above);
    std::swap(above, row);
    row[0] = i;
    for (size_t j = 1; j <= b.size(); ++j) {
      const size_t replaced = above[j - 1] + (a[i - 1] == b[j - 1] ? 0 : 1);
      row[j] = std::min({above[j] + 1, row[j - 1] + 1, replaced});
      const bool swapped = i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1];
      if (swapped) row[j] = std::min(row[j], before[j - 2] + 1);
    }
  }
  return row.back();
}

}  // namespace

std::string FormatBytes(uint64_t bytes) {
  constexpr std::array kNames = {"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
  double value = static_cast<double>(bytes);
  size_t unit = 0;
  while (value >= 1024 && unit + 1 < kNames.size()) {
    value /= 1024;
    ++unit;
  }
  if (value == std::floor(value)) return fmt::format("{:.0f} {}", value, kNames[unit]);
  return fmt::format("{:.1f} {}", value, kNames[unit]);
}

absl::StatusOr<uint64_t> ParseBytes(std::string_view text) {
  ASSIGN_OR_RETURN(const double value, ParseWithUnit(text, kByteUnits, false));
  return static_cast<uint64_t>(value);
}

std::string FormatDuration(int64_t ms) {
  if (ms < 1000) return fmt::format("{} ms", ms);
  const int64_t s = ms / 1000;
  if (s < 60) return fmt::format("{:.1f} s", static_cast<double>(ms) / 1000);
  if (s < 3600) return fmt::format("{} min {} s", s / 60, s % 60);
  return fmt::format("{} h {} min", s / 3600, s / 60 % 60);
}

absl::StatusOr<int64_t> ParseDurationMs(std::string_view text) {
  ASSIGN_OR_RETURN(const double value, ParseWithUnit(text, kDurationUnits, true));
  return static_cast<int64_t>(value);
}

std::string Nearest(std::string_view word, const std::vector<std::string>& candidates) {
  std::string best;
  size_t best_distance = std::max<size_t>(word.size(), 3) / 3 + 1;
  for (const std::string& candidate : candidates) {
    const size_t distance = EditDistance(word, candidate);
    if (distance < best_distance) {
      best_distance = distance;
      best = candidate;
    }
  }
  return best;
}

}  // namespace corpgrid
