#pragma once

#include <cstdint>
#include <limits>
#include <map>
#include <string>

#include "absl/status/statusor.h"
#include "gateway/fields.h"
#include "gateway/gbnf.h"

namespace corpgrid::gateway {

// Turns JSON schemas into grammars, so that what a model writes is always JSON of the schema.
//
// Known are: type (one or a list), enum, const, anyOf, oneOf (as anyOf), allOf of one schema, $ref
// into the schema itself (recursive, too), properties, required, additionalProperties, items,
// prefixItems (where nothing else follows), minItems, maxItems, minLength, maxLength, pattern
// (gateway/pattern.h), format (date, time, date-time, duration, uuid, ipv4, ipv6, hostname, email,
// uri), minimum, maximum and their exclusive forms, nullable, and what only describes. Anything
// else is an error: no keyword is silently left out.
//
// Less than the schema allows may be written, never more. Properties come in its order, others than
// the named only where additionalProperties says so. A bound of items or characters above
// kMaxRepeats counts as kMaxRepeats. Whole numbers with bounds have at most 15 digits, other
// numbers with bounds at most 12 decimals and no exponent (they may have one where 0 is the only
// bound, below). URIs have a host. One thread.
class SchemaGrammar {
 public:
  // `schema` is what "$ref" refers to; both must outlive it. `path`: of the schema in the request.
  SchemaGrammar(const Json& schema, std::string path, Gbnf* grammar)
      : root_(schema), path_(std::move(path)), grammar_(grammar) {}

  // The name of the rule for the schema. Errors: InvalidArgument that names the place and the
  // keyword; or that the grammar has become longer than a worker takes (Gbnf::kMaxBytes).
  absl::StatusOr<std::string> Build();
  // The same for a part of it, at `path`.
  absl::StatusOr<std::string> BuildPart(const Json& part, const std::string& path);

 private:
  class DepthOf;
  static constexpr int kMaxDepth = 200;
  static constexpr int64_t kMaxRepeats = 1000;  // the worker's library has a bound of this order

  absl::Status TooLong() const;
  absl::StatusOr<std::string> Rule(const Json& schema, const std::string& path);
  absl::StatusOr<std::string> NotNullRule(const Json& schema, const std::string& path);
  absl::StatusOr<std::string> ByType(const Json& schema, const std::string& path);
  absl::StatusOr<std::string> Reference(const std::string& ref, const std::string& path);
  absl::StatusOr<std::string> Values(const char* word, const Json& values, const Json& schema,
                                     const std::string& path);
  absl::StatusOr<std::string> OneOfThese(const Json& schemas, const std::string& path);
  absl::StatusOr<std::string> OfType(const std::string& type, const Json& schema,
                                     const std::string& path);
  absl::StatusOr<std::string> String(const Json& schema, const std::string& path);
  absl::StatusOr<std::string> Integer(const Json& schema, const std::string& path);
  absl::StatusOr<std::string> Number(const Json& schema, const std::string& path);
  absl::StatusOr<std::string> Array(const Json& schema, const std::string& path);
  absl::StatusOr<std::string> Tuple(const Json& schema, const std::string& path, int64_t least,
                                    int64_t most);
  absl::StatusOr<std::string> Object(const Json& schema, const std::string& path);
  absl::StatusOr<std::string> MoreMembers(const Json& schema, const std::string& path);
  absl::StatusOr<std::string> KeyBut(const Json& properties);

  const Json& root_;
  const std::string path_;
  Gbnf* const grammar_;
  std::map<std::string, std::string> references_;  // rules by "$ref"
  int depth_ = 0;
};

// With 15 digits, exact in every JSON reader.
inline constexpr int64_t kMostExact = 999'999'999'999'999;

// The texts of whole numbers from `least` to `most`, as the body of a rule.
std::string IntegerRange(int64_t least, int64_t most);

// The texts of n / 10^decimals for whole n from `least` to `most`, without an exponent, as the body
// of a rule. Where there is no bound the whole part may be up to kMostExact.
inline constexpr int64_t kNoLeast = std::numeric_limits<int64_t>::min();
inline constexpr int64_t kNoMost = std::numeric_limits<int64_t>::max();
std::string DecimalRange(int64_t least, int64_t most, int decimals);

}  // namespace corpgrid::gateway
