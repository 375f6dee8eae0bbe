#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace corpgrid::cli {

struct Column {
  std::string title;
  bool right = false;  // numbers line up at their last digit
};

// Aligned columns for people. Cells may hold anything: what would move the cursor is made visible.
class Table {
 public:
  explicit Table(std::vector<Column> columns) : columns_(std::move(columns)) {}

  // `cells` has one cell a column.
  void AddRow(std::vector<std::string> cells);
  bool empty() const { return rows_.empty(); }
  // The title line and a line a row, each ended by '\n' and without spaces before it.
  std::string ToText() const;

 private:
  std::vector<Column> columns_;
  std::vector<std::vector<std::string>> rows_;
};

// "name  value" lines, the values lined up; for one thing in detail.
class Details {
 public:
  void Add(std::string_view name, std::string_view value);
  std::string ToText() const;

 private:
  std::vector<std::pair<std::string, std::string>> lines_;
};

// `text` on one line, safe for a terminal: control characters and bytes that are not UTF-8 become
// "\n", "\x1b" and so on.
std::string Printable(std::string_view text);

// How many columns `text` (UTF-8) takes, counting a code point as one.
size_t DisplayWidth(std::string_view text);

// "just now", "12 s ago", "3 min ago", "5 h ago", "2 days ago".
std::string FormatAgo(int64_t ms);

// "2024-05-17 09:30:00", of milliseconds since 1970, in this machine's time zone.
std::string FormatLocalTime(int64_t wall_ms);

}  // namespace corpgrid::cli
