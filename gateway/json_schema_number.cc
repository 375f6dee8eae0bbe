// Numbers of a schema.
#include <algorithm>
#include <cmath>
#include <limits>

#include "fmt/format.h"
#include "gateway/json_schema.h"

namespace corpgrid::gateway {
namespace {

constexpr double kNone = std::numeric_limits<double>::infinity();
constexpr auto kMost = static_cast<double>(kMostExact);

struct LowerBound {
  double value;
  bool is_exclusive;
};

// The tighter one of the two that a schema may have; minus infinity where it has none.
LowerBound Least(Fields* fields) {
  const double least = fields->Number("minimum", -kNone, -kNone, kNone);
  const double above = fields->Number("exclusiveMinimum", -kNone, -kNone, kNone);
  return {std::max(least, above), above >= least};
}

// The same of the numbers with the other sign: so there is one kind of bound.
LowerBound MinusMost(Fields* fields) {
  const double most = fields->Number("maximum", kNone, -kNone, kNone);
  const double below = fields->Number("exclusiveMaximum", kNone, -kNone, kNone);
  return {-std::min(most, below), below <= most};
}

// The least whole number whose quotient by `scale` is within the bound. A reader of the decimal
// gets the same double as this division: both round the exact value.
int64_t Within(const LowerBound& bound, double scale) {
  int64_t number = std::llround(bound.value * scale);
  const auto value = [&] { return static_cast<double>(number) / scale; };
  while (bound.is_exclusive ? value() <= bound.value : value() < bound.value) ++number;
  return number;
}

}  // namespace

absl::StatusOr<std::string> SchemaGrammar::Integer(const Json& schema, const std::string& path) {
  Fields fields(schema, path);
  const LowerBound least = Least(&fields), minus_most = MinusMost(&fields);
  if (!fields.ok()) return fields.Finish();
  if (least.value == -kNone && minus_most.value == -kNone) return grammar_->Common("integer");
  if (least.value <= kMost && minus_most.value <= kMost) {
    const int64_t from = least.value < -kMost ? -kMostExact : Within(least, 1);
    const int64_t to = minus_most.value < -kMost ? kMostExact : -Within(minus_most, 1);
    if (from <= to) return IntegerRange(from, to);
  }
  fields.Fail("minimum", "leaves no whole number of at most 15 digits below the maximum");
  return fields.Finish();
}

absl::StatusOr<std::string> SchemaGrammar::Number(const Json& schema, const std::string& path) {
  Fields fields(schema, path);
  const LowerBound least = Least(&fields), minus_most = MinusMost(&fields);
  if (!fields.ok()) return fields.Finish();
  if (minus_most.value == -kNone) {
    if (least.value == -kNone) return grammar_->Common("number");
    if (least.value == 0 && !least.is_exclusive) {
      return std::string(
          R"(( "0" | [1-9] [0-9]{0,15} ) ( "." [0-9]{1,16} )? ( [eE] [-+]? [0-9]{1,2} )?)");
    }
  }
  // As many decimals as leave the bounds 15 digits: no two such numbers are the same double, so
  // that what is above a bound is also read as above it.
  int decimals = 12;
  double scale = 1e12;
  for (const double bound : {least.value, minus_most.value}) {
    if (std::abs(bound) > kMost) continue;
    while (std::abs(bound) * scale > 1e15) {
      scale /= 10;
      --decimals;
    }
  }
  if (least.value <= kMost && minus_most.value <= kMost) {
    const int64_t from = least.value < -kMost ? kNoLeast : Within(least, scale);
    const int64_t to = minus_most.value < -kMost ? kNoMost : -Within(minus_most, scale);
    // Without decimals there may be none left where the other side is open.
    const bool none = decimals == 0 && (from > kMostExact || to < -kMostExact);
    if (from <= to && !none) return DecimalRange(from, to, decimals);
  }
  fields.Fail("minimum",
              fmt::format("leaves no number of at most {} decimals below the maximum", decimals));
  return fields.Finish();
}

}  // namespace corpgrid::gateway
