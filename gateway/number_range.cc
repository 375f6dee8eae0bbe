// Ranges of numbers as grammars, digit by digit.
#include <algorithm>
#include <string>
#include <vector>

#include "fmt/format.h"
#include "fmt/ranges.h"
#include "gateway/json_schema.h"

namespace corpgrid::gateway {
namespace {

// Not negative; `parts` are of 10^-decimals.
struct Decimal {
  int64_t whole, parts;
};

std::string Or(const std::vector<std::string>& ways) {
  return fmt::format("{}", fmt::join(ways, " | "));
}

std::string Digits(char from, char to) {
  return from == to ? fmt::format("\"{}\"", from) : fmt::format("[{}-{}]", from, to);
}

std::string AnyDigits(size_t least, size_t most) {
  return most == 0 ? "" : fmt::format(" [0-9]{{{},{}}}", least, most);
}

bool IsAll(std::string_view digits, char digit) {
  return digits.find_first_not_of(digit) == std::string_view::npos;
}

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
  const bool low_is_all = IsAll(low_rest, '0'), high_is_all = IsAll(high_rest, '9');
  const char from = low_is_all ? low : static_cast<char>(low + 1);
  const char to = high_is_all ? high : static_cast<char>(high - 1);
  if (!low_is_all) {
    SameLength(low_rest, std::string(low_rest.size(), '9'), with(low, low), ways);
  }
  if (from <= to) {
    ways->push_back(with(from, to) + AnyDigits(low_rest.size(), low_rest.size()));
  }
  if (!high_is_all) {
    SameLength(std::string(high_rest.size(), '0'), high_rest, with(high, high), ways);
  }
}

// The least number of so many digits that does not begin with a zero.
std::string LeastOf(size_t digits) { return fmt::format("1{}", std::string(digits - 1, '0')); }

// 0 <= least <= most.
std::string NonNegative(int64_t least, int64_t most) {
  std::vector<std::string> ways;
  if (least == 0) ways.emplace_back("\"0\"");
  if (most == 0) return ways.front();
  std::string from = std::to_string(std::max<int64_t>(least, 1));
  const std::string end = std::to_string(most);
  if (from.size() < end.size() && from != LeastOf(from.size())) {
    SameLength(from, std::string(from.size(), '9'), "", &ways);
    from = LeastOf(from.size() + 1);
  }
  // Of these lengths all numbers count, which one way says.
  const size_t free = IsAll(end, '9') ? end.size() : end.size() - 1;
  if (from.size() <= free && from == LeastOf(from.size())) {
    ways.push_back(fmt::format("[1-9]{}", AnyDigits(from.size() - 1, free - 1)));
    if (free == end.size()) return Or(ways);
    from = LeastOf(end.size());
  }
  SameLength(from, end, "", &ways);
  return Or(ways);
}

std::string MoreDecimals(const std::string& least, const std::string& most);

// One digit or more, at most as many as both have, whose value is between theirs: those that are
// left out count as zeros.
std::string Decimals(const std::string& least, const std::string& most) {
  if (IsAll(least, '0') && IsAll(most, '9')) return fmt::format("[0-9]{{1,{}}}", least.size());
  if (IsAll(most, '0')) return fmt::format("\"0\"{{1,{}}}", most.size());
  const char low = least.front(), high = most.front();
  const std::string low_rest = least.substr(1), high_rest = most.substr(1);
  if (low == high) return Digits(low, low) + MoreDecimals(low_rest, high_rest);
  const std::string zeros(low_rest.size(), '0'), nines(low_rest.size(), '9');
  const char from = low_rest == zeros ? low : static_cast<char>(low + 1);
  const char to = high_rest == nines ? high : static_cast<char>(high - 1);
  std::vector<std::string> ways;
  if (from != low) ways.push_back(Digits(low, low) + MoreDecimals(low_rest, nines));
  if (from <= to) ways.push_back(Digits(from, to) + MoreDecimals(zeros, nines));
  if (to != high) ways.push_back(Digits(high, high) + MoreDecimals(zeros, high_rest));
  return Or(ways);
}

// The same, or none where that is enough.
std::string MoreDecimals(const std::string& least, const std::string& most) {
  if (least.empty()) return "";
  return fmt::format(" ( {} ){}", Decimals(least, most), IsAll(least, '0') ? "?" : "");
}

// What follows the whole part: a point and decimals; or nothing, where that is enough.
std::string Fraction(int64_t least, int64_t most, int decimals) {
  if (decimals == 0) return "";
  const std::string low = fmt::format("{:0{}}", least, decimals);
  const std::string text =
      fmt::format("\".\" ( {} )", Decimals(low, fmt::format("{:0{}}", most, decimals)));
  return least == 0 ? fmt::format(" ( {} )?", text) : fmt::format(" {}", text);
}

std::string NonNegative(const Decimal& least, const Decimal& most, int64_t one, int decimals) {
  const auto whole = [&](int64_t number, int64_t from, int64_t to) {
    return GbnfLiteral(std::to_string(number)) + Fraction(from, to, decimals);
  };
  if (least.whole == most.whole) return whole(least.whole, least.parts, most.parts);
  std::vector<std::string> ways;
  int64_t from = least.whole, to = most.whole;
  if (least.parts > 0) ways.push_back(whole(from++, least.parts, one - 1));
  if (most.parts < one - 1) ways.push_back(whole(to--, 0, most.parts));
  if (from <= to) {
    ways.push_back(fmt::format("( {} ){}", NonNegative(from, to), Fraction(0, one - 1, decimals)));
  }
  return Or(ways);
}

}  // namespace

std::string IntegerRange(int64_t least, int64_t most) {
  if (least >= 0) return NonNegative(least, most);
  const std::string negative =
      fmt::format("\"-\" ( {} )", NonNegative(std::max<int64_t>(-most, 1), -least));
  return most < 0 ? negative : negative + " | " + NonNegative(0, most);
}

std::string DecimalRange(int64_t least, int64_t most, int decimals) {
  int64_t one = 1;
  for (int i = 0; i < decimals; ++i) one *= 10;
  const auto split = [&](int64_t parts) { return Decimal{parts / one, parts % one}; };
  const Decimal furthest = {kMostExact, one - 1};
  std::vector<std::string> ways;
  if (least < 0) {
    // Where zero counts, "-0.0" does.
    const Decimal from = split(std::max<int64_t>(-most, 0));
    const Decimal to = least == kNoLeast ? furthest : split(-least);
    ways.push_back(fmt::format("\"-\" ( {} )", NonNegative(from, to, one, decimals)));
  }
  if (most >= 0) {
    const Decimal from = split(std::max<int64_t>(least, 0));
    const Decimal to = most == kNoMost ? furthest : split(most);
    ways.push_back(NonNegative(from, to, one, decimals));
  }
  return Or(ways);
}

}  // namespace corpgrid::gateway
