#include "job/closeness.h"

#include <algorithm>
#include <bit>
#include <charconv>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <optional>

#include "fmt/format.h"

namespace corpgrid::job {
namespace {

static_assert(std::endian::native == std::endian::little, "arrays are read as they lie in memory");

// Decimal, with or without an exponent; "inf" and "nan" too.
std::optional<double> NumberIn(std::string_view word) {
  if (word.starts_with('+') && !word.starts_with("+-")) word.remove_prefix(1);
  const char* const end = word.data() + word.size();
  double value = 0;
  const auto [stop, error] = std::from_chars(word.data(), end, value);
  if (stop != end || error == std::errc::invalid_argument) return std::nullopt;
  if (error == std::errc()) return value;
  // Too large or too small for a double: a wider one tells which, as far as it goes.
  long double wide = 0;
  if (std::from_chars(word.data(), end, wide).ec != std::errc()) return std::nullopt;
  // What is too large is a word: it is not infinite, and not close to all that is too large, too.
  if (std::abs(wide) > std::numeric_limits<double>::max()) return std::nullopt;
  return static_cast<double>(wide);
}

// Of digits alone, but for a sign.
std::optional<Integer> IntegerIn(std::string_view word) {
  Integer integer;
  integer.negative = word.starts_with('-');
  if (integer.negative || word.starts_with('+')) word.remove_prefix(1);
  const char* const end = word.data() + word.size();
  const auto [stop, error] = std::from_chars(word.data(), end, integer.magnitude);
  if (word.empty() || stop != end || error != std::errc()) return std::nullopt;
  return integer;
}

template <typename Float>
std::string ArrayDifference(const Tolerance& tolerance, std::string_view a, std::string_view b) {
  if (a.size() != b.size()) return fmt::format("{} and {} bytes", a.size(), b.size());
  if (a.size() % sizeof(Float) != 0) {
    return fmt::format("{} bytes are no array of {}-byte numbers", a.size(), sizeof(Float));
  }
  for (size_t at = 0; at < a.size(); at += sizeof(Float)) {
    Float x = 0, y = 0;
    std::memcpy(&x, a.data() + at, sizeof x);
    std::memcpy(&y, b.data() + at, sizeof y);
    if (!IsClose(double{x}, double{y}, tolerance)) {
      return fmt::format("element {}: {} and {}", at / sizeof(Float), x, y);
    }
  }
  return "";
}

}  // namespace

bool IsClose(double a, double b, const Tolerance& tolerance) {
  if (!std::isfinite(a) || !std::isfinite(b)) return a == b;
  const double largest = std::max(std::abs(a), std::abs(b));
  return std::abs(a - b) <= std::max(tolerance.relative * largest, tolerance.absolute);
}

bool IsClose(Integer a, Integer b, const Tolerance& tolerance) {
  const auto [low, high] = std::minmax(a.magnitude, b.magnitude);
  const double largest = static_cast<double>(high);
  const double distance = a.negative == b.negative
                              ? static_cast<double>(high - low)
                              : static_cast<double>(low) + static_cast<double>(high);
  return distance <= std::max(tolerance.relative * largest, tolerance.absolute);
}

bool IsSameWord(std::string_view a, std::string_view b, const Tolerance& tolerance) {
  if (const std::optional<Integer> i = IntegerIn(a), j = IntegerIn(b); i && j) {
    return IsClose(*i, *j, tolerance);
  }
  const std::optional<double> x = NumberIn(a);
  const std::optional<double> y = NumberIn(b);
  return x && y ? IsClose(*x, *y, tolerance) : a == b;
}

std::string Difference(const Tolerance& tolerance, std::string_view a, std::string_view b) {
  switch (tolerance.format) {
    case NumberFormat::kText:
      return TextDifference(tolerance, a, b);
    case NumberFormat::kCsv:
      return CsvDifference(tolerance, a, b);
    case NumberFormat::kJson:
      return JsonDifference(tolerance, a, b);
    case NumberFormat::kF32:
      return ArrayDifference<float>(tolerance, a, b);
    case NumberFormat::kF64:
      return ArrayDifference<double>(tolerance, a, b);
  }
  return "an unknown format";
}

}  // namespace corpgrid::job
