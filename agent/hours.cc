#include "agent/hours.h"

#include <algorithm>
#include <optional>
#include <sstream>
#include <string_view>

#include "base/status_macros.h"
#include "fmt/format.h"

namespace corpgrid::agent {
namespace {

constexpr std::array<std::string_view, 7> kDays = {"sun", "mon", "tue", "wed", "thu", "fri", "sat"};

std::optional<size_t> DayOf(std::string_view name) {
  const auto day = std::find(kDays.begin(), kDays.end(), name);
  if (day == kDays.end()) return std::nullopt;
  return static_cast<size_t>(day - kDays.begin());
}

// "mon-fri,sun"; nothing when it is none.
std::optional<std::bitset<7>> DaysOf(const std::string& text) {
  std::bitset<7> days;
  std::istringstream parts(text);
  for (std::string part; std::getline(parts, part, ',');) {
    const size_t dash = part.find('-');
    const auto first = DayOf(part.substr(0, dash));
    const auto last = dash == std::string::npos ? first : DayOf(part.substr(dash + 1));
    if (!first || !last) return std::nullopt;
    for (size_t day = *first;; day = (day + 1) % 7) {
      days.set(day);
      if (day == *last) break;
    }
  }
  return days.any() ? std::optional(days) : std::nullopt;
}

// The minute of the day of "8:30"; nothing when it is none. 24:00 is the end of a day.
std::optional<int> MinuteOf(std::string_view text) {
  const size_t colon = text.find(':');
  const auto number = [](std::string_view digits) {
    const bool good =
        !digits.empty() && digits.size() <= 2 &&
        std::all_of(digits.begin(), digits.end(), [](char c) { return c >= '0' && c <= '9'; });
    return good ? std::stoi(std::string(digits)) : 100;
  };
  if (colon == std::string_view::npos || text.size() - colon != 3) return std::nullopt;
  const int hour = number(text.substr(0, colon)), minute = number(text.substr(colon + 1));
  const bool good = minute < 60 && (hour < 24 || (hour == 24 && minute == 0));
  return good ? std::optional(60 * hour + minute) : std::nullopt;
}

}  // namespace

absl::StatusOr<Hours> Hours::Parse(const std::vector<std::string>& windows) {
  Hours hours;
  for (const std::string& window : windows) {
    RETURN_IF_ERROR(hours.AddWindow(window));
    hours.text_ += (hours.text_.empty() ? "" : "; ") + window;
  }
  return hours;
}

absl::Status Hours::AddWindow(const std::string& window) {
  const auto wrong = [&] {
    return absl::InvalidArgumentError(fmt::format(
        "\"{}\" are no hours: write 18:00-08:00, mon-fri 18:00-08:00 or sat,sun", window));
  };
  std::istringstream words(window);
  std::string first, second, more;
  words >> first >> second >> more;
  const bool has_days = DaysOf(first).has_value();
  const std::bitset<7> days = DaysOf(first).value_or(std::bitset<7>().set());
  const std::string times = has_days ? second : first;
  if (!more.empty() || (!has_days && (!second.empty() || times.empty()))) return wrong();
  int begin = 0, end = kMinutesADay;
  if (!times.empty()) {
    const size_t dash = times.find('-');
    if (dash == std::string::npos) return wrong();
    const auto from = MinuteOf(times.substr(0, dash)), to = MinuteOf(times.substr(dash + 1));
    if (!from || !to || *from == *to || *from == kMinutesADay) return wrong();
    begin = *from;
    end = *to;
  }
  always_ = false;
  const int length = (end - begin + kMinutesADay - 1) % kMinutesADay + 1;
  for (size_t day = 0; day < days.size(); ++day) {
    if (!days[day]) continue;
    for (int i = begin; i < begin + length; ++i) {
      open_[(day + static_cast<size_t>(i / kMinutesADay)) % 7].set(
          static_cast<size_t>(i % kMinutesADay));
    }
  }
  return absl::OkStatus();
}

bool Hours::Include(int weekday, int minute) const {
  return always_ || open_.at(static_cast<size_t>(weekday)).test(static_cast<size_t>(minute));
}

}  // namespace corpgrid::agent
