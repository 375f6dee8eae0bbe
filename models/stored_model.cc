#include "models/stored_model.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <optional>

#include "base/status_macros.h"
#include "crypto/hex.h"
#include "fmt/format.h"
#include "inference/facts_json.h"
#include "models/sha256.h"

namespace corpgrid::models {
namespace {

using inference::Json;

constexpr size_t kMaxName = 96;
constexpr uint32_t kMaxParts = 999;
constexpr int kFormat = 1;

bool IsLetterOrDigit(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

bool IsNameCharacter(char c) { return IsLetterOrDigit(c) || c == '.' || c == '_' || c == '-'; }

std::string_view Stem(std::string_view path) {
  path.remove_prefix(path.find_last_of('/') + 1);  // npos + 1 is 0
  if (path.ends_with(".gguf")) path.remove_suffix(5);
  return path;
}

struct Part {
  std::string_view prefix;
  uint32_t number = 0;
  uint32_t count = 0;
};

std::optional<uint32_t> FiveDigits(std::string_view text) {
  uint32_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (text.size() != 5 || error != std::errc() || end != text.data() + 5) return std::nullopt;
  return number;
}

// Of a stem "a-00001-of-00003", as the library writes them.
std::optional<Part> SplitPart(std::string_view stem) {
  constexpr size_t kSuffix = std::string_view("-00001-of-00003").size();
  if (stem.size() <= kSuffix) return std::nullopt;
  const std::string_view suffix = stem.substr(stem.size() - kSuffix);
  const auto number = FiveDigits(suffix.substr(1, 5)), count = FiveDigits(suffix.substr(10));
  if (suffix[0] != '-' || suffix.substr(6, 4) != "-of-" || !number || !count) return std::nullopt;
  return Part{stem.substr(0, stem.size() - kSuffix), *number, *count};
}

absl::StatusOr<StoredFile> ParseFile(const Json& json) {
  StoredFile file;
  if (!json.is_object() || !json.contains("name") || !json["name"].is_string() ||
      !json.contains("bytes") || !json["bytes"].is_number_unsigned() || !json.contains("sha256") ||
      !json["sha256"].is_string()) {
    return absl::DataLossError("a file without name, bytes or sha256");
  }
  json["name"].get_to(file.name);
  json["bytes"].get_to(file.bytes);
  json["sha256"].get_to(file.sha256);
  if (file.name.empty() || SafeFileName(file.name) != file.name || !IsSha256(file.sha256)) {
    return absl::DataLossError("a file with an impossible name or SHA-256");
  }
  return file;
}

}  // namespace

uint64_t StoredModel::bytes() const {
  uint64_t sum = 0;
  for (const StoredFile& file : files) sum += file.bytes;
  return sum;
}

std::string StoredModel::Digest() const {
  std::string digits = files.front().sha256;
  if (files.size() > 1) {
    Sha256 sum;
    for (const StoredFile& file : files) sum.Add(file.sha256);
    digits = sum.Digits();
  }
  std::array<uint8_t, 32> raw{};
  crypto::ParseHex(digits, raw);
  return {raw.begin(), raw.end()};
}

absl::Status CheckModelName(std::string_view name) {
  if (!name.empty() && name.size() <= kMaxName && IsLetterOrDigit(name.front()) &&
      std::all_of(name.begin(), name.end(), IsNameCharacter)) {
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError(fmt::format(
      "\"{}\" is no name for a model; names are 1 to {} letters, digits, '.', '_' and '-', the "
      "first a letter or a digit",
      name.substr(0, kMaxName), kMaxName));
}

std::string NameFromFile(std::string_view path) {
  std::string_view stem = Stem(path);
  if (const auto part = SplitPart(stem)) stem = part->prefix;
  std::string name;
  for (const char c : stem.substr(0, kMaxName)) {
    if (name.empty() && !IsLetterOrDigit(c)) continue;
    name += IsNameCharacter(c) ? c : '-';
  }
  return name.empty() ? "model" : name;
}

std::string SafeFileName(std::string_view path) {
  path.remove_prefix(path.find_last_of('/') + 1);
  std::string name(path.substr(0, 200));
  std::replace_if(name.begin(), name.end(), [](char c) { return !IsNameCharacter(c); }, '_');
  if (name.empty() || name.front() == '.' || name.front() == '-') name.insert(0, 1, '_');
  return name;
}

absl::StatusOr<std::vector<std::string>> PartsOf(const std::string& name) {
  if (!name.ends_with(".gguf")) return std::vector<std::string>{name};
  const std::string_view stem = std::string_view(name).substr(0, name.size() - 5);
  const std::optional<Part> part = SplitPart(stem);
  if (!part) return std::vector<std::string>{name};
  if (part->number == 0 || part->number > part->count || part->count > kMaxParts) {
    return absl::InvalidArgumentError(
        fmt::format("{} cannot be part {} of {}; at most {} parts are possible", name, part->number,
                    part->count, kMaxParts));
  }
  std::vector<std::string> names;
  for (uint32_t n = 1; n <= part->count; ++n) {
    names.push_back(fmt::format("{}-{:05}-of-{:05}.gguf", part->prefix, n, part->count));
  }
  return names;
}

std::string FormatManifest(const StoredModel& model) {
  Json files = Json::array();
  for (const StoredFile& file : model.files) {
    files.push_back({{"name", file.name}, {"bytes", file.bytes}, {"sha256", file.sha256}});
  }
  const Json manifest = {{"format", kFormat},
                         {"name", model.name},
                         {"source", model.source},
                         {"added_wall_ms", model.added_wall_ms},
                         {"files", std::move(files)},
                         {"facts", ToJson(model.facts)},
                         {"verdict", ToJson(model.verdict)}};
  return manifest.dump(1, ' ', false, Json::error_handler_t::replace) + "\n";
}

absl::StatusOr<StoredModel> ParseManifest(std::string_view text) {
  const Json json = Json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (!json.is_object()) return absl::DataLossError("the manifest is no JSON object");
  if (json.value("format", Json()) != kFormat) {
    return absl::DataLossError("the manifest is of a format that this version does not know");
  }
  StoredModel model;
  for (const auto& [field, value] :
       {std::pair("name", &model.name), std::pair("source", &model.source)}) {
    if (!json.contains(field) || !json[field].is_string()) {
      return absl::DataLossError(fmt::format("the manifest has no \"{}\"", field));
    }
    json[field].get_to(*value);
  }
  RETURN_IF_ERROR(CheckModelName(model.name));
  const Json added = json.value("added_wall_ms", Json()), files = json.value("files", Json());
  if (!added.is_number_integer() || !files.is_array() || files.empty()) {
    return absl::DataLossError("the manifest has no \"added_wall_ms\" or no \"files\"");
  }
  model.added_wall_ms = added.get<int64_t>();
  for (const Json& file : files) {
    ASSIGN_OR_RETURN(StoredFile parsed, ParseFile(file));
    model.files.push_back(std::move(parsed));
  }
  ASSIGN_OR_RETURN(model.facts, inference::ParseFacts(json.value("facts", Json())));
  ASSIGN_OR_RETURN(model.verdict, inference::ParseCompatibility(json.value("verdict", Json())));
  return model;
}

}  // namespace corpgrid::models
