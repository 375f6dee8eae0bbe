#include "cli/table.h"

#include <algorithm>
#include <ctime>

#include "fmt/format.h"

namespace corpgrid::cli {
namespace {

// The length of the well-formed UTF-8 sequence that `text` starts with, 0 when there is none.
size_t SequenceLength(std::string_view text) {
  const auto byte = [&](size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned char lead = byte(0);
  size_t length = 0;
  if (lead < 0x80) return 1;
  if (lead >= 0xc2 && lead <= 0xdf) length = 2;
  if (lead >= 0xe0 && lead <= 0xef) length = 3;
  if (lead >= 0xf0 && lead <= 0xf4) length = 4;
  if (length == 0 || text.size() < length) return 0;
  for (size_t i = 1; i < length; ++i) {
    if ((byte(i) & 0xc0) != 0x80) return 0;
  }
  return length;
}

// U+0080 to U+009F: some terminals take them for escape sequences.
bool IsC1Control(std::string_view sequence) {
  return sequence.size() == 2 && sequence[0] == '\xc2' &&
         static_cast<unsigned char>(sequence[1]) < 0xa0;
}

std::string Escaped(char c) {
  switch (c) {
    case '\n':
      return "\\n";
    case '\r':
      return "\\r";
    case '\t':
      return "\\t";
    default:
      return fmt::format("\\x{:02x}", static_cast<unsigned char>(c));
  }
}

void AppendPadded(std::string& line, std::string_view cell, size_t width, bool right) {
  const std::string padding(width - std::min(width, DisplayWidth(cell)), ' ');
  line += right ? padding : "";
  line += cell;
  line += right ? "" : padding;
}

void EndLine(std::string& text) {
  text.erase(text.find_last_not_of(' ') + 1);
  text += '\n';
}

}  // namespace

std::string Printable(std::string_view text) {
  std::string out;
  while (!text.empty()) {
    const size_t length = SequenceLength(text);
    const std::string_view sequence = text.substr(0, std::max<size_t>(length, 1));
    const bool control =
        length == 1 && (static_cast<unsigned char>(text[0]) < 0x20 || text[0] == 0x7f);
    if (length == 0 || control || IsC1Control(sequence)) {
      for (const char c : sequence) out += Escaped(c);
    } else {
      out += sequence;
    }
    text.remove_prefix(sequence.size());
  }
  return out;
}

size_t DisplayWidth(std::string_view text) {
  return static_cast<size_t>(
      std::count_if(text.begin(), text.end(), [](char c) { return (c & 0xc0) != 0x80; }));
}

void Table::AddRow(std::vector<std::string> cells) {
  for (std::string& cell : cells) cell = Printable(cell);
  cells.resize(columns_.size());
  rows_.push_back(std::move(cells));
}

std::string Table::ToText() const {
  std::vector<size_t> widths;
  for (size_t i = 0; i < columns_.size(); ++i) {
    size_t width = DisplayWidth(columns_[i].title);
    for (const auto& row : rows_) width = std::max(width, DisplayWidth(row[i]));
    widths.push_back(width);
  }
  std::string text;
  for (size_t i = 0; i < columns_.size(); ++i) {
    if (i > 0) text += "  ";
    AppendPadded(text, columns_[i].title, widths[i], columns_[i].right);
  }
  EndLine(text);
  for (const auto& row : rows_) {
    for (size_t i = 0; i < columns_.size(); ++i) {
      if (i > 0) text += "  ";
      AppendPadded(text, row[i], widths[i], columns_[i].right);
    }
    EndLine(text);
  }
  return text;
}

void Details::Add(std::string_view name, std::string_view value) {
  lines_.emplace_back(name, Printable(value));
}

std::string Details::ToText() const {
  size_t width = 0;
  for (const auto& line : lines_) width = std::max(width, DisplayWidth(line.first));
  std::string text;
  for (const auto& [name, value] : lines_) {
    AppendPadded(text, name, width + 2, false);
    text += value;
    EndLine(text);
  }
  return text;
}

std::string FormatAgo(int64_t ms) {
  const int64_t s = std::max<int64_t>(ms, 0) / 1000;
  if (s < 2) return "just now";
  if (s < 60) return fmt::format("{} s ago", s);
  if (s < 3600) return fmt::format("{} min ago", s / 60);
  if (s < 2 * 86400) return fmt::format("{} h ago", s / 3600);
  return fmt::format("{} days ago", s / 86400);
}

std::string FormatLocalTime(int64_t wall_ms) {
  const std::time_t seconds = wall_ms / 1000;
  std::tm local{};
  localtime_r(&seconds, &local);
  char text[32];
  std::strftime(text, sizeof(text), "%Y-%m-%d %H:%M:%S", &local);
  return text;
}

}  // namespace corpgrid::cli
