#pragma once

#include <compare>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace corpgrid::job {

// Both from 1; the column counts bytes (see Column for the one that people count).
struct Position {
  size_t line = 1;
  size_t column = 1;

  auto operator<=>(const Position&) const = default;
};

struct Mistake {
  Position at;
  std::string message;
};

// A YAML value with its place in the file.
struct YamlNode {
  enum class Kind { kNull, kText, kList, kMap };
  Kind kind = Kind::kNull;
  Position at;
  std::string text;
  std::vector<YamlNode> items;  // of a list, or the values of a map
  std::vector<YamlNode> keys;   // of a map; as many as items
};

// `root` is there when the text is YAML of the kind we take: one document, no anchors, aliases or
// tags (an alias bomb would not end), a bounded depth. Mistakes say why it is not.
struct Document {
  std::optional<YamlNode> root;
  std::vector<Mistake> mistakes;
};

// Takes time and memory in proportion to `text`, whatever it holds.
Document ParseYaml(std::string_view text);

// What the parser had seen when it stopped.
struct Progress {
  Position last;               // the beginning of the last key or value
  std::vector<Position> open;  // "[" and "{" that are not closed yet
};

// The lines of a text without their ends; there is always one.
class Lines {
 public:
  explicit Lines(std::string_view text);
  size_t count() const { return lines_.size(); }
  // The line with this number, from 1; "" behind the last one.
  std::string_view operator[](size_t number) const {
    return number >= 1 && number <= lines_.size() ? lines_[number - 1] : "";
  }
  // What its line has from `at` on; "" behind the end.
  std::string_view From(Position at) const;
  // The column of `at` in characters, from 1.
  size_t Column(Position at) const;

 private:
  std::vector<std::string_view> lines_;
};

// What a person should hear about yaml-cpp's `error` at `at`, and at which place.
Mistake ExplainSyntaxError(const Lines& lines, const std::string& error, Position at,
                           const Progress& progress);

}  // namespace corpgrid::job
