#include <optional>
#include <set>
#include <string>
#include <vector>

#include "fmt/format.h"
#include "job/closeness.h"
#include "job/text.h"
#include "nlohmann/json.hpp"

namespace corpgrid::job {
namespace {

using nlohmann::json;

constexpr size_t kMaxDepth = 256;

// Not discarded when `text` is JSON that means the same to everyone who reads it.
std::optional<json> Parse(std::string_view text) {
  std::vector<std::set<std::string>> keys;  // of the objects that are open
  bool refused = false;
  const auto look = [&](int depth, json::parse_event_t event, json& value) {
    if (static_cast<size_t>(depth) > kMaxDepth) refused = true;
    if (event == json::parse_event_t::object_start) keys.emplace_back();
    if (event == json::parse_event_t::object_end) keys.pop_back();
    if (event == json::parse_event_t::key) {
      refused |= !keys.back().insert(value.get<std::string>()).second;
    }
    return !refused;
  };
  json value = json::parse(text, look, /*allow_exceptions=*/false);
  if (refused || value.is_discarded()) return std::nullopt;
  return value;
}

std::string Name(const json& value) {
  return value.is_object()  ? "an object"
         : value.is_array() ? "a list"
                            : Quote(value.dump(-1, ' ', false, json::error_handler_t::replace));
}

Integer ToInteger(const json& value) {
  if (value.is_number_unsigned()) return {false, value.get<uint64_t>()};
  const auto number = value.get<int64_t>();
  return {number < 0,
          number < 0 ? ~static_cast<uint64_t>(number) + 1 : static_cast<uint64_t>(number)};
}

// Begins with the JSON pointer (RFC 6901) of the two values, made on the way back: made on the way
// in, it would cost its length for every value. Long keys are cut.
std::string ValueDifference(const Tolerance& tolerance, const json& a, const json& b) {
  constexpr size_t kMaxStep = 40;
  const auto differ = [&] { return fmt::format(": {} and {}", Name(a), Name(b)); };
  if (a.is_number_integer() && b.is_number_integer()) {
    return IsClose(ToInteger(a), ToInteger(b), tolerance) ? "" : differ();
  }
  if (a.is_number() && b.is_number()) {
    return IsClose(a.get<double>(), b.get<double>(), tolerance) ? "" : differ();
  }
  if (a.type() != b.type()) return differ();
  if (!a.is_structured()) return a == b ? "" : differ();
  if (a.size() != b.size()) return fmt::format(": {} and {} items", a.size(), b.size());
  // An object's items are in the order of their keys.
  for (auto x = a.begin(), y = b.begin(); x != a.end(); ++x, ++y) {
    if (a.is_object() && x.key() != y.key()) {
      return fmt::format(": the keys {} and {}", Quote(x.key()), Quote(y.key()));
    }
    const std::string found = ValueDifference(tolerance, *x, *y);
    if (found.empty()) continue;
    const std::string step = a.is_object() ? x.key() : std::to_string(x - a.begin());
    return fmt::format("/{}{}", step.substr(0, kMaxStep), found);
  }
  return "";
}

}  // namespace

std::string JsonDifference(const Tolerance& tolerance, std::string_view a, std::string_view b) {
  const std::optional<json> left = Parse(a);
  const std::optional<json> right = Parse(b);
  if (!left || !right) {
    return fmt::format(
        "no JSON (RFC 8259) of at most {} levels in which each key of an object comes once",
        kMaxDepth);
  }
  return ValueDifference(tolerance, *left, *right);
}

}  // namespace corpgrid::job
