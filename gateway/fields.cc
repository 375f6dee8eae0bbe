#include "gateway/fields.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <optional>

#include "base/status_macros.h"
#include "base/text.h"
#include "fmt/format.h"
#include "fmt/ranges.h"
#include "gateway/api_error.h"

namespace corpgrid::gateway {
namespace {

constexpr size_t kMaxShown = 64;
constexpr uint64_t kMostLooks = 50'000'000;  // a tenth of a second: 10,000 keys in one object

// A value as it is told in an error.
std::string Shown(const Json& value) {
  if (value.is_object()) return "an object";
  if (value.is_array()) return "a list";
  std::string text = Dump(value);
  return text.size() <= kMaxShown ? text : text.substr(0, kMaxShown) + "…";
}

// The library reads without recursion, but frees and writes with it; and for each key it looks at
// all that the object had before.
absl::Status CheckShape(std::string_view text) {
  uint64_t members[kMaxJsonDepth] = {}, looks = 0;
  int depth = 0;
  bool in_string = false;
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (in_string) {
      if (c == '\\') ++i;
      if (c == '"') in_string = false;
    } else if (c == '"') {
      in_string = true;
    } else if (c == '{' || c == '[') {
      if (depth == kMaxJsonDepth) {
        return absl::InvalidArgumentError(
            fmt::format("the body is nested more than {} deep", kMaxJsonDepth));
      }
      members[depth++] = 0;
    } else if (c == '}' || c == ']') {
      depth = std::max(depth - 1, 0);
    } else if (c == ':' && depth > 0) {
      looks += members[depth - 1]++;
      if (looks > kMostLooks) {
        return absl::InvalidArgumentError(fmt::format(
            "the body has an object of {} members; that is too many", members[depth - 1]));
      }
    }
  }
  return absl::OkStatus();
}

// Nothing when it does not fit. 2^63 - 1 as a double is 2^63, which does not.
std::optional<int64_t> ToInt64(const Json& number) {
  constexpr double kTwoTo63 = 9'223'372'036'854'775'808.0;
  if (number.is_number_unsigned()) {
    const auto value = number.get<uint64_t>();
    if (value > static_cast<uint64_t>(std::numeric_limits<int64_t>::max())) return std::nullopt;
  } else if (number.is_number_float()) {
    const auto value = number.get<double>();
    if (value < -kTwoTo63 || value >= kTwoTo63) return std::nullopt;
  }
  return number.get<int64_t>();
}

}  // namespace

std::string Dump(const Json& json) {
  return json.dump(-1, ' ', false, Json::error_handler_t::replace);
}

absl::StatusOr<Json> ParseObject(std::string_view text) {
  RETURN_IF_ERROR(CheckShape(text));
  try {
    Json json = Json::parse(text);
    if (json.is_object()) return json;
    return absl::InvalidArgumentError("the body is no JSON object");
  } catch (const Json::exception& error) {
    const std::string what = error.what();
    return absl::InvalidArgumentError(
        fmt::format("the body is no JSON: {}", what.substr(what.find(']') + 2, 200)));
  }
}

Fields::Fields(const Json& object, std::string path) : object_(object), path_(std::move(path)) {
  if (!object_.is_object()) {
    Fail(BadField(path_, fmt::format("{} has to be an object, not {}", path_, Shown(object_))));
  }
}

std::string Fields::PathOf(std::string_view name) const {
  if (name.empty()) return path_;
  return path_.empty() ? std::string(name) : fmt::format("{}.{}", path_, name);
}

bool Fields::Has(std::string_view name) const {
  const auto found = object_.find(std::string(name));
  return object_.is_object() && found != object_.end() && !found->is_null();
}

const Json* Fields::Any(std::string_view name) {
  known_.emplace(name);
  return Has(name) ? &*object_.find(std::string(name)) : nullptr;
}

const Json* Fields::Find(std::string_view name, std::string_view expected,
                         bool (Json::*is)() const noexcept) {
  const Json* value = Any(name);
  if (value == nullptr || (value->*is)()) return value;
  Fail(name, fmt::format("has to be {}, not {}", expected, Shown(*value)));
  return nullptr;
}

bool Fields::Bool(std::string_view name, bool absent) {
  const Json* value = Find(name, "true or false", &Json::is_boolean);
  return value == nullptr ? absent : value->get<bool>();
}

double Fields::Number(std::string_view name, double absent, double least, double most) {
  const Json* value = Find(name, "a number", &Json::is_number);
  if (value == nullptr) return absent;
  const auto number = value->get<double>();
  if (number >= least && number <= most) return number;
  Fail(name, fmt::format("is {}; it may be from {} to {}", Shown(*value), least, most));
  return absent;
}

int64_t Fields::Integer(std::string_view name, int64_t absent, int64_t least, int64_t most) {
  const Json* value = Find(name, "a whole number", &Json::is_number);
  if (value == nullptr) return absent;
  const auto number = value->get<double>();
  if (std::floor(number) != number) {
    Fail(name, fmt::format("has to be a whole number, not {}", Shown(*value)));
    return absent;
  }
  const std::optional<int64_t> whole = ToInt64(*value);
  if (whole && *whole >= least && *whole <= most) return *whole;
  Fail(name, fmt::format("is {}; it may be from {} to {}", Shown(*value), least, most));
  return absent;
}

std::string Fields::Text(std::string_view name, std::string_view absent) {
  const Json* value = Find(name, "a string", &Json::is_string);
  return value == nullptr ? std::string(absent) : value->get<std::string>();
}

std::string Fields::Word(std::string_view name, std::string_view absent,
                         std::initializer_list<std::string_view> words) {
  std::string word = Text(name, absent);
  if (std::find(words.begin(), words.end(), word) != words.end()) return word;
  Fail(name, fmt::format("is \"{}\"; here it may be \"{}\"", word, fmt::join(words, "\", \"")));
  return std::string(absent);
}

const Json* Fields::Object(std::string_view name) {
  return Find(name, "an object", &Json::is_object);
}

const Json* Fields::List(std::string_view name) { return Find(name, "a list", &Json::is_array); }

void Fields::Require(std::string_view name) {
  if (!Has(name)) Fail(name, "is missing");
}

void Fields::Ignore(std::initializer_list<std::string_view> names) {
  for (const std::string_view name : names) known_.emplace(name);
}

void Fields::Fail(std::string_view name, std::string_view message) {
  const std::string path = PathOf(name);
  Fail(BadField(path, fmt::format("{} {}", path, message)));
}

void Fields::Fail(absl::Status status) {
  if (status_.ok()) status_ = std::move(status);
}

absl::Status Fields::Finish() {
  if (!status_.ok()) return status_;
  for (const auto& [name, value] : object_.items()) {
    if (known_.contains(name) || value.is_null()) continue;
    if (name.size() > kMaxShown) {
      Fail(name.substr(0, kMaxShown) + "…", "is not known here");
      continue;
    }
    const std::string nearest = Nearest(name, {known_.begin(), known_.end()});
    Fail(name, fmt::format("is not known here{}",
                           nearest.empty() ? "" : fmt::format("; did you mean {}?", nearest)));
  }
  return status_;
}

}  // namespace corpgrid::gateway
