#include "job/suggest.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <charconv>
#include <cmath>
#include <utility>

#include "base/text.h"
#include "fmt/format.h"
#include "job/text.h"

namespace corpgrid::job {
namespace {

constexpr auto kPaths = std::to_array<std::string_view>({
    "name",
    "bundle",
    "run",
    "run.command",
    "shards",
    "inputs",
    "outputs",
    "env",
    "resources",
    "resources.cpus",
    "resources.memory",
    "resources.vram",
    "resources.backend",
    "redundancy",
    "redundancy.replicas",
    "redundancy.quorum",
    "redundancy.max_error",
    "redundancy.validator",
    "redundancy.validator.numeric",
    "redundancy.validator.absolute",
    "redundancy.validator.relative",
    "redundancy.distinct",
    "limits",
    "limits.wall",
    "limits.output",
    "limits.disk",
    "limits.processes",
    "limits.network",
    "checkpoint",
    "checkpoint.folder",
    "checkpoint.every",
    "priority",
    "after",
    "deadline",
    "project",
    "placement",
    "placement.labels",
    "placement.sites",
    "placement.attested",
});

// What other tools call it.
constexpr std::array<std::pair<std::string_view, std::string_view>, 30> kOtherNames = {{
    {"args", "run.command"},
    {"argv", "run.command"},
    {"cmd", "run.command"},
    {"script", "run.command"},
    {"exec", "run.command"},
    {"count", "shards"},
    {"tasks", "shards"},
    {"parallelism", "shards"},
    {"files", "inputs"},
    {"environment", "env"},
    {"variables", "env"},
    {"artifacts", "outputs"},
    {"results", "outputs"},
    {"cores", "resources.cpus"},
    {"ram", "resources.memory"},
    {"mem", "resources.memory"},
    {"gpu", "resources.backend"},
    {"gpus", "resources.backend"},
    {"timeout", "limits.wall"},
    {"walltime", "limits.wall"},
    {"time", "limits.wall"},
    {"pids", "limits.processes"},
    {"internet", "limits.network"},
    {"copies", "redundancy.replicas"},
    {"max_retries", "retries"},
    {"attempts", "retries"},
    {"depends_on", "after"},
    {"dependencies", "after"},
    {"needs", "after"},
    {"nice", "priority"},
}};

// Longer words are no typos, and the edit distance costs their length.
constexpr size_t kLongestWord = 32;

std::string Lower(std::string_view text) {
  std::string lower(text);
  std::transform(lower.begin(), lower.end(), lower.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return lower;
}

// The path that `key` is the last part of, or its other name for.
std::string_view Elsewhere(std::string_view key) {
  for (const std::string_view path : kPaths) {
    if (path.substr(path.rfind('.') + 1) == key) return path;
  }
  if (key == "retries") return key;
  for (const auto& [other, path] : kOtherNames) {
    if (other == key) return path;
  }
  return "";
}

// `path` as someone who is in `parent` would be told it.
std::string Place(std::string_view path, std::string_view parent) {
  const size_t dot = path.rfind('.');
  if (dot != std::string_view::npos && path.substr(0, dot) == parent) {
    return fmt::format("\"{}:\"", path.substr(dot + 1));
  }
  if (dot == std::string_view::npos && parent.empty()) return fmt::format("\"{}:\"", path);
  if (dot == std::string_view::npos) return fmt::format("\"{}:\" at the top level", path);
  return fmt::format("\"{}:\" under \"{}:\"", path.substr(dot + 1), path.substr(0, dot));
}

}  // namespace

std::string DidYouMean(std::string_view suggestion) {
  return suggestion.empty() ? "" : fmt::format("; did you mean {}?", suggestion);
}

std::string SuggestWord(std::string_view word, const std::vector<std::string>& words) {
  if (word.size() > kLongestWord) return "";
  // Two letters that changed places are one slip, but two edits.
  std::string swapped = Lower(word);
  for (size_t i = 1; i < swapped.size(); ++i) {
    std::swap(swapped[i - 1], swapped[i]);
    if (std::find(words.begin(), words.end(), swapped) != words.end()) return swapped;
    std::swap(swapped[i - 1], swapped[i]);
  }
  return Nearest(swapped, words);
}

Suggestion SuggestKey(std::string_view key, const std::string& parent,
                      const std::vector<std::string>& siblings) {
  const std::string prefix = parent.empty() ? "" : parent + ".";
  const std::string where = parent.empty() ? "" : fmt::format(" under \"{}:\"", parent);
  const std::string unknown = fmt::format("unknown key {}{}", Quote(key), where);
  const std::string lower = key.size() > kLongestWord ? "" : Lower(key);
  if (const std::string_view path = Elsewhere(lower); !path.empty()) {
    return {std::string(path), fmt::format("{}; did you mean {}?", unknown, Place(path, parent))};
  }
  if (const std::string nearest = SuggestWord(key, siblings); !nearest.empty()) {
    return {prefix + nearest, fmt::format("{}; did you mean \"{}:\"?", unknown, nearest)};
  }
  std::vector<std::string> all;
  all.reserve(kPaths.size());
  for (const std::string_view path : kPaths) {
    all.emplace_back(path.substr(path.rfind('.') + 1));
  }
  if (const std::string nearest = SuggestWord(key, all); !nearest.empty()) {
    const std::string_view path = Elsewhere(nearest);
    return {std::string(path), fmt::format("{}; did you mean {}?", unknown, Place(path, parent))};
  }
  return {fmt::format("{}{}", prefix, key),
          fmt::format("{}, expected one of {}", unknown, fmt::join(siblings, ", "))};
}

std::string SuggestNumber(const std::string& text) {
  if (text.size() > kLongestWord) return "";
  std::string digits;
  for (const char c : text) {
    if (c != '_' && c != ',' && c != '\'' && c != ' ') digits += c;
  }
  double number = 0;
  const char* const end = digits.data() + digits.size();
  const auto [stop, error] = std::from_chars(digits.data(), end, number);
  if (stop != end || error != std::errc() || number < 0 || number > 1e9 ||
      number != std::floor(number)) {
    return "";
  }
  return fmt::format("{:.0f}", number);
}

std::string SuggestBytes(const std::string& text) {
  for (const std::string_view rest : {"iB", "B"}) {
    const std::string longer = fmt::format("{}{}", text, rest);
    if (text.size() <= kLongestWord && !text.empty() &&
        std::isalpha(static_cast<unsigned char>(text.back())) && ParseBytes(longer).ok()) {
      return longer;
    }
  }
  return "";
}

std::string SuggestDuration(const std::string& text) {
  constexpr std::array<std::pair<std::string_view, std::string_view>, 13> kWords = {{
      {"", "s"},
      {"sec", "s"},
      {"secs", "s"},
      {"second", "s"},
      {"seconds", "s"},
      {"mins", "min"},
      {"minute", "min"},
      {"minutes", "min"},
      {"hr", "h"},
      {"hrs", "h"},
      {"hour", "h"},
      {"hours", "h"},
      {"days", "d"},
  }};
  if (text.size() > kLongestWord || text.empty()) return "";
  const size_t digits = std::min(text.find_first_not_of("0123456789."), text.size());
  const size_t word = std::min(text.find_first_not_of(' ', digits), text.size());
  const std::string lower = Lower(std::string_view(text).substr(word));
  for (const auto& [name, unit] : kWords) {
    const std::string meant = fmt::format("{}{}", text.substr(0, digits), unit);
    if (lower == name && ParseDurationMs(meant).ok()) return meant;
  }
  return "";
}

std::string SuggestBool(std::string_view text) {
  if (text.size() > kLongestWord) return "";
  const std::string lower = Lower(text);
  for (const std::string_view yes : {"true", "yes", "on", "y", "1"}) {
    if (lower == yes) return "true";
  }
  for (const std::string_view no : {"false", "no", "off", "n", "0", "none"}) {
    if (lower == no) return "false";
  }
  return "";
}

std::string SuggestCommand(std::string_view text) {
  constexpr size_t kLongestCommand = 200;
  if (text.size() > kLongestCommand || text.find('\n') != std::string_view::npos) {
    return "[\"sh\", \"-c\", \"...\"]";
  }
  if (text.find_first_of("|&;<>()$`\\\"'*?[]#~%!") != std::string_view::npos) {
    return fmt::format("[\"sh\", \"-c\", {}]", QuoteYaml(text));
  }
  std::vector<std::string> words;
  while (!text.empty()) {
    const size_t end = std::min(text.find_first_of(" \t"), text.size());
    if (end > 0) words.push_back(QuoteYaml(text.substr(0, end)));
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  if (words.empty()) words.emplace_back("\"./program\"");
  return fmt::format("[{}]", fmt::join(words, ", "));
}

std::string SuggestFolder(const std::filesystem::path& path) {
  constexpr size_t kMostEntries = 1000;
  std::error_code error;
  const std::filesystem::path parent =
      path.filename().empty() ? path.parent_path().parent_path() : path.parent_path();
  const std::string name =
      (path.filename().empty() ? path.parent_path() : path).filename().native();
  std::vector<std::string> folders;
  std::filesystem::directory_iterator entry(parent, error);
  for (size_t seen = 0;
       !error && entry != std::filesystem::directory_iterator() && seen < kMostEntries; ++seen) {
    std::error_code ignored;
    std::string other = entry->path().filename().native();
    if (entry->is_directory(ignored) && other.size() <= kLongestWord) {
      folders.push_back(std::move(other));
    }
    entry.increment(error);
  }
  const std::string nearest = name.size() > kLongestWord ? "" : Nearest(name, folders);
  return nearest.empty() ? "" : Quote((parent / nearest).native());
}

std::string QuoteYaml(std::string_view text) {
  std::string quoted = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') quoted += '\\';
    if (c == '\n') {
      quoted += "\\n";
    } else {
      quoted += c;
    }
  }
  return quoted + '"';
}

}  // namespace corpgrid::job
