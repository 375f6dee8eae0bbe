// Numbers in lines of text and in CSV.

#include <algorithm>
#include <string>

#include "fmt/format.h"
#include "job/closeness.h"
#include "job/text.h"

namespace corpgrid::job {
namespace {

bool IsBlank(char c) { return c == ' ' || c == '\t' || c == '\r'; }

// What a number, a name, a date or a version may be made of, so that no part of one is taken for a
// number.
bool IsOfWord(char c) {
  return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '.' ||
         c == '+' || c == '-' || c == '_' || static_cast<unsigned char>(c) >= 0x80;
}

// Cuts a text into words, single other characters and line ends.
class Words {
 public:
  explicit Words(std::string_view text) : rest_(text) {
    while (!rest_.empty() && (IsBlank(rest_.back()) || rest_.back() == '\n'))
      rest_.remove_suffix(1);
  }

  // Empty at the end.
  std::string_view Next() {
    while (!rest_.empty() && IsBlank(rest_.front())) rest_.remove_prefix(1);
    const auto end = std::find_if_not(rest_.begin(), rest_.end(), IsOfWord);
    const auto size = std::max<size_t>(static_cast<size_t>(end - rest_.begin()), 1);
    const std::string_view word = rest_.substr(0, size);
    rest_.remove_prefix(word.size());
    return word;
  }

 private:
  std::string_view rest_;
};

std::string Name(std::string_view word) {
  if (word.empty()) return "the end";
  return word == "\n" ? "the end of the line" : Quote(word);
}

// Reads the fields of a CSV text one by one.
class Fields {
 public:
  enum class End { kField, kRow, kText, kBroken };

  explicit Fields(std::string_view text) : rest_(text) {
    if (rest_.ends_with('\n')) rest_.remove_suffix(1);
  }

  // Reads a field into `*field` and says what it ends; kBroken when it is no CSV.
  End Next(std::string* field) {
    field->clear();
    if (!rest_.starts_with('"')) {
      const size_t size = std::min(rest_.find_first_of(",\n"), rest_.size());
      field->assign(rest_.substr(0, size));
      rest_.remove_prefix(size);
      const bool line_end = rest_.empty() || rest_.front() == '\n';
      if (line_end && field->ends_with('\r')) field->pop_back();
      if (field->find('"') != std::string::npos) return End::kBroken;
      return Separator();
    }
    while (true) {
      rest_.remove_prefix(1);
      const size_t size = rest_.find('"');
      if (size == std::string_view::npos) return End::kBroken;
      field->append(rest_.substr(0, size));
      rest_.remove_prefix(size + 1);
      if (!rest_.starts_with('"')) break;
      *field += '"';
    }
    if (rest_ == "\r" || rest_.starts_with("\r\n")) rest_.remove_prefix(1);
    return Separator();
  }

 private:
  End Separator() {
    if (rest_.empty()) return End::kText;
    const char c = rest_.front();
    rest_.remove_prefix(1);
    if (c == ',') return End::kField;
    return c == '\n' ? End::kRow : End::kBroken;
  }

  std::string_view rest_;
};

std::string_view Trimmed(std::string_view text) {
  while (!text.empty() && IsBlank(text.front())) text.remove_prefix(1);
  while (!text.empty() && IsBlank(text.back())) text.remove_suffix(1);
  return text;
}

}  // namespace

std::string TextDifference(const Tolerance& tolerance, std::string_view a, std::string_view b) {
  Words left(a), right(b);
  for (size_t line = 1;;) {
    const std::string_view x = left.Next();
    const std::string_view y = right.Next();
    if (!IsSameWord(x, y, tolerance)) {
      return fmt::format("line {}: {} and {}", line, Name(x), Name(y));
    }
    if (x.empty()) return "";
    if (x == "\n") ++line;
  }
}

std::string CsvDifference(const Tolerance& tolerance, std::string_view a, std::string_view b) {
  using End = Fields::End;
  Fields left(a), right(b);
  std::string x, y;
  for (size_t row = 1, column = 1;;) {
    const End x_end = left.Next(&x);
    const End y_end = right.Next(&y);
    const auto place = [&] { return fmt::format("row {}, column {}", row, column); };
    if (x_end == End::kBroken || y_end == End::kBroken) return place() + " is no CSV (RFC 4180)";
    if (!IsSameWord(Trimmed(x), Trimmed(y), tolerance)) {
      return fmt::format("{}: {} and {}", place(), Quote(x), Quote(y));
    }
    if (x_end != y_end) return place() + " ends the row, or the text, in one of them only";
    if (x_end == End::kText) return "";
    if (x_end == End::kRow) {
      ++row;
      column = 1;
    } else {
      ++column;
    }
  }
}

}  // namespace corpgrid::job
