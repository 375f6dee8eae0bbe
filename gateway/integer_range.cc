// Ranges of whole numbers as grammars, digit by digit.
#include <algorithm>
#include <string>
#include <vector>

#include "fmt/format.h"
#include "fmt/ranges.h"
#include "gateway/json_schema.h"

namespace corpgrid::gateway {
namespace {

std::string Digits(char from, char to) {
  return from == to ? fmt::format("\"{}\"", from) : fmt::format("[{}-{}]", from, to);
}

std::string AnyDigits(size_t count) { return count == 0 ? "" : fmt::format(" [0-9]{{{}}}", count); }

// Numbers of as many digits as both have: the first digit is that of a bound, and the others are
// bounded again; or it is between, and the others are free.
void SameLength(const std::string& least, const std::string& most, const std::string& before,
                std::vector<std::string>* ways) {
  if (least.empty()) {
    ways->push_back(before);
    return;
  }
  const char low = least.front(), high = most.front();
  const std::string low_rest = least.substr(1), high_rest = most.substr(1);
  const auto with = [&](char from, char to) {
    return before + (before.empty() ? "" : " ") + Digits(from, to);
  };
  if (low == high) {
    SameLength(low_rest, high_rest, with(low, low), ways);
    return;
  }
  const bool low_is_all = low_rest == std::string(low_rest.size(), '0');
  const bool high_is_all = high_rest == std::string(high_rest.size(), '9');
  const char from = low_is_all ? low : static_cast<char>(low + 1);
  const char to = high_is_all ? high : static_cast<char>(high - 1);
  if (!low_is_all) {
    SameLength(low_rest, std::string(low_rest.size(), '9'), with(low, low), ways);
  }
  if (from <= to) ways->push_back(with(from, to) + AnyDigits(low_rest.size()));
  if (!high_is_all) {
    SameLength(std::string(high_rest.size(), '0'), high_rest, with(high, high), ways);
  }
}

// 0 <= least <= most.
std::string NonNegative(int64_t least, int64_t most) {
  std::vector<std::string> ways;
  std::string from = std::to_string(least);
  const std::string end = std::to_string(most);
  for (; from.size() < end.size(); from = "1" + std::string(from.size(), '0')) {
    SameLength(from, std::string(from.size(), '9'), "", &ways);
  }
  SameLength(from, end, "", &ways);
  return fmt::format("{}", fmt::join(ways, " | "));
}

}  // namespace

std::string IntegerRange(int64_t least, int64_t most) {
  if (least >= 0) return NonNegative(least, most);
  const std::string negative =
      fmt::format("\"-\" ( {} )", NonNegative(std::max<int64_t>(-most, 1), -least));
  return most < 0 ? negative : negative + " | " + NonNegative(0, most);
}

}  // namespace corpgrid::gateway
