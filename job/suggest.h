#pragma once

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

namespace corpgrid::job {

// What the author of a job file may have meant. All return "" when they have no idea.

// "; did you mean X?", or "" for "".
std::string DidYouMean(std::string_view suggestion);

// The nearest of `words`, whatever its case.
std::string SuggestWord(std::string_view word, const std::vector<std::string>& words);

// What to say about the unknown key `key` under `parent`, whose keys are `siblings`, and the path
// of the key that was meant ("limits.wall"), or of the unknown one.
struct Suggestion {
  std::string path;
  std::string message;
};
Suggestion SuggestKey(std::string_view key, const std::string& parent,
                      const std::vector<std::string>& siblings);

std::string SuggestNumber(const std::string& text);    // "1_000" -> "1000"
std::string SuggestBytes(const std::string& text);     // "512M" -> "512MiB"
std::string SuggestDuration(const std::string& text);  // "10 minutes" -> "10min"
std::string SuggestBool(std::string_view text);        // "yes" -> "true"
std::string SuggestCommand(std::string_view text);     // "./trace -v" -> ["./trace", "-v"]
// A folder beside `path` with a similar name.
std::string SuggestFolder(const std::filesystem::path& path);

// `text` as YAML in double quotes.
std::string QuoteYaml(std::string_view text);

}  // namespace corpgrid::job
