#pragma once

#include <map>
#include <string>

#include "absl/status/statusor.h"
#include "gateway/fields.h"
#include "gateway/gbnf.h"

namespace corpgrid::gateway {

// Turns JSON schemas into grammars, so that what a model writes is always JSON of the schema.
//
// Known are: type (one or a list), enum, const, anyOf, oneOf (as anyOf), $ref into the schema
// itself (recursive, too), properties, required, additionalProperties, items, minItems, maxItems,
// minLength, maxLength, pattern (anchored; gateway/pattern.h), format (date, time, date-time,
// uuid, ipv4, email), minimum, maximum and their exclusive forms of integers, nullable, and what
// only describes. Anything else is an error: no keyword is silently left out. Properties come in
// the schema's order; more than the named ones only where additionalProperties says so. One thread.
class SchemaGrammar {
 public:
  // `schema` is what "$ref" refers to; both must outlive it. `path`: of the schema in the request.
  SchemaGrammar(const Json& schema, std::string path, Gbnf* grammar)
      : root_(schema), path_(std::move(path)), grammar_(grammar) {}

  // The name of the rule for the schema. Errors: InvalidArgument that names the place and the
  // keyword.
  absl::StatusOr<std::string> Build();

 private:
  class DepthOf;
  static constexpr int kMaxDepth = 200;
  static constexpr int64_t kMaxRepeats = 1000;  // the worker's library has a bound of this order

  absl::StatusOr<std::string> Rule(const Json& schema, const std::string& path);
  absl::StatusOr<std::string> ByType(const Json& schema, const std::string& path);
  absl::StatusOr<std::string> Reference(const std::string& ref, const std::string& path);
  absl::StatusOr<std::string> OneOfThese(const Json& schemas, const std::string& path);
  absl::StatusOr<std::string> OfType(const std::string& type, const Json& schema,
                                     const std::string& path);
  absl::StatusOr<std::string> String(const Json& schema, const std::string& path);
  absl::StatusOr<std::string> Integer(const Json& schema, const std::string& path);
  absl::StatusOr<std::string> Number(const Json& schema, const std::string& path);
  absl::StatusOr<std::string> Array(const Json& schema, const std::string& path);
  absl::StatusOr<std::string> Object(const Json& schema, const std::string& path);
  absl::StatusOr<std::string> MoreMembers(const Json& schema, const std::string& path);
  std::string KeyBut(const Json& properties);

  const Json& root_;
  const std::string path_;
  Gbnf* const grammar_;
  std::map<std::string, std::string> references_;  // rules by "$ref"
  int depth_ = 0;
};

// The texts of whole numbers from `least` to `most`, as the body of a rule.
std::string IntegerRange(int64_t least, int64_t most);

}  // namespace corpgrid::gateway
