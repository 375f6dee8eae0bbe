#include "job/yaml_values.h"

#include <algorithm>
#include <charconv>
#include <cmath>

#include "base/status_macros.h"
#include "base/text.h"
#include "fmt/format.h"
#include "job/suggest.h"
#include "job/text.h"

namespace corpgrid::job {
namespace {

// "{shard}" without quotes is a map with one key and no value.
bool IsBarePlaceholder(const YamlNode& node) {
  return node.kind == YamlNode::Kind::kMap && node.keys.size() == 1 &&
         node.keys[0].kind == YamlNode::Kind::kText && node.items[0].kind == YamlNode::Kind::kNull;
}

absl::Status Expected(std::string_view expected, const YamlNode& node,
                      const std::string& suggestion) {
  return absl::InvalidArgumentError(
      fmt::format("expected {}, got {}{}", expected, Found(node), DidYouMean(suggestion)));
}

template <typename T>
absl::StatusOr<T> NumberIn(const YamlNode& node, std::string_view expected,
                           const std::string& suggestion) {
  T number = 0;
  const char* const end = node.text.data() + node.text.size();
  const auto [stop, error] = std::from_chars(node.text.data(), end, number);
  if (node.kind == YamlNode::Kind::kText && stop == end && error == std::errc()) return number;
  if (stop == end && error == std::errc::result_out_of_range) {
    return absl::InvalidArgumentError(fmt::format("{} is too large", Quote(node.text)));
  }
  return Expected(expected, node, suggestion);
}

}  // namespace

std::string Found(const YamlNode& node) {
  switch (node.kind) {
    case YamlNode::Kind::kNull:
      return "nothing";
    case YamlNode::Kind::kText:
      return Quote(node.text);
    case YamlNode::Kind::kList:
      return "a list";
    case YamlNode::Kind::kMap:
      return "keys and values";
  }
  return "";
}

absl::StatusOr<std::string> TextOf(const YamlNode& node, std::string_view expected) {
  if (node.kind == YamlNode::Kind::kText) return node.text;
  if (IsBarePlaceholder(node)) {
    return absl::InvalidArgumentError(fmt::format("a placeholder needs quotes, as in {}",
                                                  Quote(fmt::format("{{{}}}", node.keys[0].text))));
  }
  if (node.kind == YamlNode::Kind::kNull) {
    return absl::InvalidArgumentError(
        fmt::format("expected {}, got nothing (\"\" is the empty text)", expected));
  }
  return Expected(expected, node, "");
}

absl::StatusOr<uint32_t> NumberOf(const YamlNode& node) {
  return NumberIn<uint32_t>(node, "a whole number", SuggestNumber(node.text));
}

absl::StatusOr<int32_t> SignedOf(const YamlNode& node) {
  return NumberIn<int32_t>(node, "a whole number, as in -5", SuggestNumber(node.text));
}

absl::StatusOr<double> FractionOf(const YamlNode& node) {
  ASSIGN_OR_RETURN(const double number, NumberIn<double>(node, "a number, as in 1e-6", ""));
  if (std::isfinite(number)) return number;
  return Expected("a number, as in 1e-6", node, "");
}

absl::StatusOr<uint64_t> BytesOf(const YamlNode& node) {
  const absl::StatusOr<uint64_t> bytes = ParseBytes(node.text);
  if (bytes.ok()) return bytes;
  return Expected("a size, as in 512MiB (B, KB, MB, GB, TB, KiB, MiB, GiB, TiB)", node,
                  SuggestBytes(node.text));
}

absl::StatusOr<int64_t> DurationOf(const YamlNode& node) {
  const absl::StatusOr<int64_t> ms = ParseDurationMs(node.text);
  if (ms.ok()) return ms;
  return Expected("a time with its unit, as in 10min (ms, s, min, h, d)", node,
                  SuggestDuration(node.text));
}

absl::StatusOr<bool> BoolOf(const YamlNode& node) {
  if (node.text == "true") return true;
  if (node.text == "false") return false;
  return Expected("true or false", node, SuggestBool(node.text));
}

absl::StatusOr<size_t> ChoiceOf(const YamlNode& node, const std::vector<std::string>& names) {
  const auto found = std::find(names.begin(), names.end(), node.text);
  if (found != names.end()) return static_cast<size_t>(found - names.begin());
  return Expected(fmt::format("{}{}", names.size() > 1 ? "one of " : "", fmt::join(names, ", ")),
                  node, node.text.empty() ? "" : SuggestWord(node.text, names));
}

absl::StatusOr<std::string> PathOf(const YamlNode& node, std::string_view expected) {
  if (node.kind != YamlNode::Kind::kText) return TextOf(node, expected);
  if (node.text.empty()) return Expected(expected, node, "");
  if (node.text == "~" || node.text.starts_with("~/")) {
    return absl::InvalidArgumentError(
        fmt::format("~ is not expanded here, got {}; write the whole path or one relative to the "
                    "job file",
                    Quote(node.text)));
  }
  return node.text;
}

}  // namespace corpgrid::job
