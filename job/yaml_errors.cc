#include <algorithm>
#include <optional>

#include "fmt/format.h"
#include "job/text.h"
#include "job/yaml.h"

// yaml-cpp says what its scanner missed ("illegal map value"), often behind the line that is wrong.
// Here its error and the text around it become what the author should change.
namespace corpgrid::job {
namespace {

constexpr std::string_view kBlanks = " \t";

std::string_view Strip(std::string_view text) {
  const size_t first = text.find_first_not_of(kBlanks);
  if (first == std::string_view::npos) return "";
  return text.substr(first, text.find_last_not_of(kBlanks) - first + 1);
}

size_t IndentOf(std::string_view line) {
  return std::min(line.find_first_not_of(kBlanks), line.size());
}

// The text at `at` up to a blank or a bracket.
std::string_view WordAt(const Lines& lines, Position at) {
  const std::string_view rest = lines.From(at);
  return rest.substr(0, rest.find_first_of(" \t,[]{}"));
}

bool IsKeyLetter(unsigned char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
         c == '-';
}

// "shards:4" is a text for YAML, and the error comes a line later.
std::optional<Mistake> MissingBlank(std::string_view line, size_t number) {
  const size_t indent = IndentOf(line);
  const std::string_view rest = line.substr(indent);
  const size_t colon =
      static_cast<size_t>(std::find_if_not(rest.begin(), rest.end(), IsKeyLetter) - rest.begin());
  if (colon == 0 || colon + 1 >= rest.size() || rest[colon] != ':' ||
      kBlanks.find(rest[colon + 1]) != std::string_view::npos || rest[colon + 1] == '/') {
    return std::nullopt;
  }
  return Mistake{{number, indent + colon + 1},
                 fmt::format("a blank is missing after the \":\", as in {}",
                             Quote(fmt::format("{}: {}", rest.substr(0, colon),
                                               Strip(rest.substr(colon + 1)))))};
}

// A line that has no "key:" though it stands where one must be.
std::optional<Mistake> NoKey(std::string_view line, size_t number) {
  const std::string_view stripped = Strip(line);
  if (stripped.empty() || stripped[0] == '#' || stripped[0] == '-' ||
      stripped.find(':') != std::string_view::npos) {
    return std::nullopt;
  }
  const size_t equals = stripped.find('=');
  const std::string hint =
      equals == std::string_view::npos
          ? ""
          : fmt::format("; did you mean {}?",
                        Quote(fmt::format("{}: {}", Strip(stripped.substr(0, equals)),
                                          Strip(stripped.substr(equals + 1)))));
  return Mistake{{number, IndentOf(line) + 1},
                 fmt::format("expected \"key: value\", got {}{}", Quote(stripped), hint)};
}

// The lines from the last value that was understood up to the error, most likely culprit first.
std::optional<Mistake> BlameALine(const Lines& lines, Position at, const Progress& progress) {
  const size_t first = std::min(progress.last.line, at.line);
  for (size_t number = first; number <= at.line; ++number) {
    const std::string_view line = lines[number];
    const size_t tab = line.substr(0, IndentOf(line)).find('\t');
    if (tab != std::string_view::npos && !Strip(line).empty()) {
      return Mistake{{number, tab + 1}, "a tab indents this line; YAML wants blanks"};
    }
  }
  for (size_t number = first; number <= at.line; ++number) {
    if (auto mistake = MissingBlank(lines[number], number)) return mistake;
  }
  for (size_t number = first + (progress.last.line == 1 ? 0 : 1); number < at.line; ++number) {
    if (auto mistake = NoKey(lines[number], number)) return mistake;
  }
  return std::nullopt;
}

Mistake SecondColon(const Lines& lines, Position at, const Progress& progress) {
  const std::string_view line = lines[at.line];
  if (progress.last.line < at.line && IndentOf(line) > IndentOf(lines[at.line - 1])) {
    return {{at.line, IndentOf(line) + 1},
            "this line is indented deeper than the one above, which has a value already; align the "
            "keys that belong together"};
  }
  return {at, "a \":\" where none can be; a text with \": \" in it needs quotes"};
}

Mistake OpenBracket(const Lines& lines, Position at, const Progress& progress) {
  const std::string_view found = lines.From(at).substr(0, 1);
  if (found == "{" || (found == "}" && !progress.open.empty())) {
    // The text before the brace was taken for a value of its own.
    const Position begin = progress.last.line == at.line ? progress.last : at;
    std::string_view whole = lines.From(begin);
    whole = Strip(whole.substr(0, whole.find_first_of(",]")));
    return {begin, fmt::format("a text with braces needs quotes here, as in {}", Quote(whole))};
  }
  if (progress.open.empty()) return {at, "a \"[\" or \"{\" is not closed"};
  const Position open = progress.open.back();
  const bool brace = lines.From(open).starts_with('{');
  const std::string expected = brace ? "\",\" or \"}\"" : "\",\" or \"]\"";
  if (open.line == at.line && !found.empty()) {
    return {at, fmt::format("expected {} for the \"{}\" in column {}", expected, brace ? '{' : '[',
                            lines.Column(open))};
  }
  return {open, fmt::format("this \"{}\" is not closed: expected {}", brace ? '{' : '[', expected)};
}

// The quote that was opened last and never closed. Quotes open only where a value may begin, and
// comments may hold any.
Position OpenQuote(const Lines& lines, const Progress& progress) {
  Position open = progress.last;
  char inside = '\0';
  for (size_t number = progress.last.line; number <= lines.count(); ++number) {
    const std::string_view line = lines[number];
    for (size_t i = number == progress.last.line ? progress.last.column - 1 : 0; i < line.size();
         ++i) {
      const bool begins =
          i == 0 || std::string_view(" \t[{,:").find(line[i - 1]) != std::string_view::npos;
      if (inside != '\0') {
        if (inside == '"' && line[i] == '\\') {
          ++i;
        } else if (line[i] == inside) {
          inside = '\0';
        }
      } else if (begins && line[i] == '#') {
        break;
      } else if (begins && (line[i] == '"' || line[i] == '\'')) {
        inside = line[i];
        open = {number, i + 1};
      }
    }
  }
  return open;
}

std::string OutOfPlace(const Lines& lines, Position at) {
  const std::string_view line = lines[at.line];
  if (IndentOf(line) + 1 >= at.column) {
    return "the indentation of this line fits none of the lines above: begin it in the column of "
           "the keys that it belongs to";
  }
  return "unexpected text behind the value; put the whole value into quotes";
}

}  // namespace

Mistake ExplainSyntaxError(const Lines& lines, const std::string& error, Position at,
                           const Progress& progress) {
  const auto is = [&](std::string_view what) { return error.find(what) != std::string::npos; };
  if (is("illegal map value") || is("end of map not found") || is("illegal tab")) {
    if (auto mistake = BlameALine(lines, at, progress)) return *mistake;
    if (is("end of map")) return {at, OutOfPlace(lines, at)};
    return SecondColon(lines, at, progress);
  }
  if (is("end of sequence not found")) return {at, OutOfPlace(lines, at)};
  if (is("flow not found") || is("illegal flow end")) return OpenBracket(lines, at, progress);
  if (is("illegal EOF in scalar") || is("illegal document indicator in scalar")) {
    return {OpenQuote(lines, progress), "this quotation is never closed"};
  }
  if (is("unknown token") || is("anchor") || is("alias")) {
    const std::string_view word = WordAt(lines, at);
    if (!word.empty()) {
      return {at, fmt::format("a text that begins with \"{}\" needs quotes, as in {}", word[0],
                              Quote(fmt::format("{}", word)))};
    }
  }
  if (is("unknown escape")) {
    const size_t backslash = lines[at.line].rfind('\\', at.column - 1);
    if (backslash != std::string_view::npos) at.column = backslash + 1;
    return {at,
            "unknown escape in a text in double quotes: write \"\\\\\" for a backslash, or use "
            "single quotes"};
  }
  if (is("illegal block entry")) {
    return {at,
            "a list that is written with \"-\" begins on the line after its key; or write it as "
            "[a, b]"};
  }
  return {at, fmt::format("no valid YAML: {}", error)};
}

}  // namespace corpgrid::job
