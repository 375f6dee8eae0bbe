#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "job/yaml.h"

namespace corpgrid::job {

// What a node says, read as one kind of value. Errors: InvalidArgument with what was expected, what
// was found and what may have been meant, all for the node's place.

// Any scalar as it is written; "64" and 64 are the same.
absl::StatusOr<std::string> TextOf(const YamlNode& node, std::string_view expected = "a text");
absl::StatusOr<uint32_t> NumberOf(const YamlNode& node);
absl::StatusOr<int32_t> SignedOf(const YamlNode& node);
// With a point or an exponent, or without; finite.
absl::StatusOr<double> FractionOf(const YamlNode& node);
absl::StatusOr<uint64_t> BytesOf(const YamlNode& node);
absl::StatusOr<int64_t> DurationOf(const YamlNode& node);
absl::StatusOr<bool> BoolOf(const YamlNode& node);
// The index of the text among `names`.
absl::StatusOr<size_t> ChoiceOf(const YamlNode& node, const std::vector<std::string>& names);
// A path, relative or absolute.
absl::StatusOr<std::string> PathOf(const YamlNode& node, std::string_view expected);

// The node as a message names it: a quoted text, "a list", "nothing".
std::string Found(const YamlNode& node);

}  // namespace corpgrid::job
