#include "gateway/pattern.h"

#include <cctype>
#include <charconv>

#include "base/status_macros.h"
#include "fmt/format.h"
#include "gateway/gbnf.h"

namespace corpgrid::gateway {
namespace {

constexpr int kMaxDepth = 20;
constexpr int kMaxRepeats = 1000;
constexpr std::string_view kNotInJson = R"("\\\x7F\x00-\x1F)";  // as they are, in a class

absl::Status Unsupported(std::string_view what) {
  return absl::InvalidArgumentError(
      fmt::format("has {}, which is not supported here; characters, classes, groups, | and "
                  "repetitions are, between ^ and $",
                  what));
}

class Reader {
 public:
  explicit Reader(std::string_view pattern) : rest_(pattern) {}

  absl::StatusOr<std::string> Read() {
    if (rest_.size() < 2 || rest_.front() != '^' || rest_.back() != '$' ||
        rest_[rest_.size() - 2] == '\\') {
      return Unsupported("no ^ at its start or no $ at its end");
    }
    rest_ = rest_.substr(1, rest_.size() - 2);
    ASSIGN_OR_RETURN(std::string body, Alternatives(0));
    if (!rest_.empty()) return Unsupported("a ) without its (");
    return "( " + body + " )";
  }

 private:
  char Take() {
    const char c = rest_.front();
    rest_.remove_prefix(1);
    return c;
  }
  bool At(char c) const { return !rest_.empty() && rest_.front() == c; }

  absl::StatusOr<std::string> Alternatives(int depth) {
    if (depth > kMaxDepth) return Unsupported("too many groups in each other");
    std::string all;
    while (true) {
      std::string sequence;
      while (!rest_.empty() && !At('|') && !At(')')) {
        ASSIGN_OR_RETURN(const std::string atom, Atom(depth));
        ASSIGN_OR_RETURN(const std::string repetition, Repetition());
        sequence += (sequence.empty() ? "" : " ") + atom + repetition;
      }
      all += sequence.empty() ? "\"\"" : sequence;
      if (!At('|')) return all;
      Take();
      all += " | ";
    }
  }

  absl::StatusOr<std::string> Atom(int depth) {
    const char c = Take();
    if (c == '(') return Group(depth);
    if (c == '[') return Class();
    if (c == '.') return fmt::format("[^{}]", kNotInJson);
    if (c == '\\') return Escape();
    if (c == '^' || c == '$') return Unsupported("an anchor within it");
    if (c == '*' || c == '+' || c == '?' || c == '{') return Unsupported("a repetition of nothing");
    const auto byte = static_cast<unsigned char>(c);
    if (byte < 0x20) return Unsupported("a control character");
    std::string text(1, c);
    while (byte >= 0xC0 && !rest_.empty() &&
           (static_cast<unsigned char>(rest_[0]) & 0xC0) == 0x80) {
      text += Take();
    }
    return GbnfLiteral(c == '"' ? "\\\"" : text);
  }

  absl::StatusOr<std::string> Group(int depth) {
    if (At('?')) {
      if (!rest_.starts_with("?:")) return Unsupported("a look-around or a named group");
      rest_.remove_prefix(2);
    }
    ASSIGN_OR_RETURN(const std::string inside, Alternatives(depth + 1));
    if (!At(')')) return Unsupported("a ( without its )");
    Take();
    return "( " + inside + " )";
  }

  absl::StatusOr<std::string> Escape() {
    if (rest_.empty()) return Unsupported("a \\ at its end");
    const char c = Take();
    const std::string set = SetOf(c);
    if (!set.empty()) return fmt::format("[{}]", set);
    if (std::isalnum(static_cast<unsigned char>(c)) != 0) {
      return Unsupported(fmt::format("\\{}", c));
    }
    if (c == '"' || c == '\\') return GbnfLiteral(std::string("\\") + c);
    return GbnfLiteral(std::string(1, c));
  }

  static std::string SetOf(char c) {
    if (c == 'd') return "0-9";
    if (c == 'w') return "A-Za-z0-9_";
    if (c == 's') return " ";  // others need an escape in JSON
    return "";
  }

  absl::StatusOr<std::string> Class() {
    const bool negated = At('^');
    if (negated) Take();
    std::string set;
    bool first = true;
    while (!rest_.empty() && (first || !At(']'))) {
      first = false;
      char c = Take();
      if (c == '\\') {
        if (rest_.empty()) return Unsupported("a [ without its ]");
        c = Take();
        const std::string known = SetOf(c);
        if (known.empty() && std::isalnum(static_cast<unsigned char>(c)) != 0) {
          return Unsupported(fmt::format("\\{} in a class", c));
        }
        if (!known.empty()) {
          set += known;
          continue;
        }
      } else if (c == '-' && !set.empty() && !rest_.empty() && !At(']')) {
        set += '-';  // a range
        continue;
      }
      if (c == '"' || c == '\\' || static_cast<unsigned char>(c) < 0x20) {
        if (negated) continue;  // they are out in any case
        return Unsupported("a quote, a backslash or a control character in a class");
      }
      set += GbnfClassChar(c);
    }
    if (rest_.empty()) return Unsupported("a [ without its ]");
    Take();
    if (negated) return fmt::format("[^{}{}]", set, kNotInJson);
    return fmt::format("[{}]", set);
  }

  absl::StatusOr<std::string> Repetition() {
    std::string repetition;
    if (At('*') || At('+') || At('?')) {
      repetition = std::string(1, Take());
    } else if (At('{')) {
      const size_t end = rest_.find('}');
      if (end == std::string_view::npos) return Unsupported("a { without its }");
      const std::string_view inside = rest_.substr(1, end - 1);
      if (inside.empty() || inside.find_first_not_of("0123456789,") != std::string_view::npos ||
          inside.front() == ',') {
        return Unsupported("a { that is no repetition");
      }
      for (size_t at = 0; at < inside.size();) {
        int count = 0;
        const auto read = std::from_chars(inside.data() + at, inside.data() + inside.size(), count);
        if (read.ec != std::errc() || count > kMaxRepeats) {
          return Unsupported(fmt::format("a repetition of more than {}", kMaxRepeats));
        }
        at = static_cast<size_t>(read.ptr - inside.data()) + 1;
      }
      repetition = std::string(rest_.substr(0, end + 1));
      rest_.remove_prefix(end + 1);
    }
    if (!repetition.empty() && (At('?') || At('+'))) return Unsupported("a lazy repetition");
    return repetition;
  }

  std::string_view rest_;
};

}  // namespace

absl::StatusOr<std::string> PatternToGbnf(std::string_view pattern) {
  return Reader(pattern).Read();
}

}  // namespace corpgrid::gateway
