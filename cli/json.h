#pragma once

#include <string>
#include <string_view>

#include "google/protobuf/message.h"
#include "job/spec.h"
#include "nlohmann/json.hpp"

namespace corpgrid::cli {

// Keeps the order in which fields were added: the wire format's.
using Json = nlohmann::ordered_json;

// A message as scripts see it, the same fields always there, named as in proto/corpgrid/v1/:
// numbers as numbers (64-bit ones too), null for an `optional` that is not given, enums as
// lower-case text, hashes, tokens and signatures as hexadecimal digits, log tails as text.
Json ToJson(const google::protobuf::Message& message);

// A job spec, with the keys and the nesting of a job file; sizes in bytes, times in milliseconds.
Json ToJson(const job::JobSpec& spec);

// A job spec as a person would write it, YAML; sizes and times with units.
std::string ToYaml(const job::JobSpec& spec);

// The document with a line end. Bytes that are not UTF-8 become U+FFFD.
std::string Dump(const Json& json);

// Lower-case hexadecimal digits.
std::string Hex(std::string_view bytes);

}  // namespace corpgrid::cli
