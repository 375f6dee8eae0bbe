#include "gateway/pattern.h"

#include <algorithm>
#include <cctype>
#include <cstdint>
#include <iterator>
#include <utility>
#include <vector>

#include "base/status_macros.h"
#include "base/utf8.h"
#include "fmt/format.h"
#include "fmt/ranges.h"

namespace corpgrid::gateway {
namespace {

constexpr int kMaxDepth = 20;
constexpr int kMaxRepeats = 1000;
constexpr int kMaxCopies = 10'000;  // that the worker's library keeps, for all repetitions
// Parts that may be there or not: it looks at all ways through them for each token. A thousand in a
// row take it a second.
constexpr int kMaxChoices = 100;
constexpr std::string_view kNotInJson = R"("\\\x7F\x00-\x1F)";  // as they are, in a class

// Code points, both ends included.
struct Range {
  uint32_t first, last;
};
using Ranges = std::vector<Range>;

constexpr uint32_t kLastCodePoint = 0x10FFFF;
// Those of kNotInJson; and halves of a surrogate pair, which are no text.
constexpr Range kKeptOut[] = {
    {0x00, 0x1F}, {'"', '"'}, {'\\', '\\'}, {0x7F, 0x7F}, {0xD800, 0xDFFF}};
// \s of ECMA-262, and so of JSON schemas.
constexpr Range kSpaces[] = {{0x09, 0x0D},     {0x20, 0x20},     {0xA0, 0xA0},     {0x1680, 0x1680},
                             {0x2000, 0x200A}, {0x2028, 0x2029}, {0x202F, 0x202F}, {0x205F, 0x205F},
                             {0x3000, 0x3000}, {0xFEFF, 0xFEFF}};

absl::Status Unsupported(std::string_view what) {
  return absl::InvalidArgumentError(
      fmt::format("has {}, which is not supported here; characters, classes, groups, |, "
                  "repetitions, ^ at the start and $ at the end are",
                  what));
}

// The first of a text that is not empty.
std::string_view FirstCharacter(std::string_view text) {
  return text.substr(0, static_cast<size_t>(std::max(CharacterLength(text), 1)));
}

uint32_t CodePoint(std::string_view character) {
  const auto first = static_cast<unsigned char>(character.front());
  if (character.size() == 1) return first;
  uint32_t code_point = first & (0xFFu >> (character.size() + 1));
  for (const char c : character.substr(1)) {
    code_point = (code_point << 6) | (static_cast<unsigned char>(c) & 0x3Fu);
  }
  return code_point;
}

Ranges Without(const Ranges& ranges, const Range& out) {
  Ranges left;
  for (const Range& range : ranges) {
    if (range.first < out.first) left.push_back({range.first, std::min(range.last, out.first - 1)});
    if (range.last > out.last) left.push_back({std::max(range.first, out.last + 1), range.last});
  }
  return left;
}

bool Has(const Ranges& ranges, uint32_t code_point) {
  return std::any_of(ranges.begin(), ranges.end(), [&](const Range& range) {
    return range.first <= code_point && code_point <= range.last;
  });
}

bool HasAll(Ranges ranges) {
  std::sort(ranges.begin(), ranges.end(),
            [](const Range& a, const Range& b) { return a.first < b.first; });
  uint32_t next = 0;
  for (const Range& range : ranges) {
    if (range.first > next) return false;
    next = std::max(next, range.last + 1);
  }
  return next > kLastCodePoint;
}

std::string ClassText(const Ranges& ranges) {
  std::string text;
  for (const Range& range : ranges) text += GbnfClassRange(range.first, range.last);
  return text;
}

// What \d, \w and \s are; nothing for other letters. Of all spaces only the usual one is written.
Ranges KnownSet(char letter, bool negated) {
  if (letter == 'd') return {{'0', '9'}};
  if (letter == 'w') return {{'A', 'Z'}, {'a', 'z'}, {'0', '9'}, {'_', '_'}};
  if (letter == 's' && negated) return Ranges(std::begin(kSpaces), std::end(kSpaces));
  if (letter == 's') return {{' ', ' '}};
  return {};
}

class Reader {
 public:
  Reader(std::string_view pattern, Gbnf* grammar) : rest_(pattern), grammar_(grammar) {}

  absl::StatusOr<std::string> Read() {
    if (rest_.size() > Gbnf::kMaxBytes) {
      return Unsupported(fmt::format("more than {} KiB", Gbnf::kMaxBytes >> 10));
    }
    ASSIGN_OR_RETURN(std::string body, Alternatives(0));
    if (!rest_.empty()) return Unsupported("a ) without its (");
    body = fmt::format("( {} )", body);
    if (has_start_ && has_end_) return body;
    const std::string any = grammar_->Common("char");
    if (!has_start_) body = fmt::format("{}* {}", any, body);
    return has_end_ ? body : fmt::format("{} {}*", body, any);
  }

 private:
  struct Repetition {
    std::string text = "";  // none: once
    int most = 1;           // copies
    bool varies = false;
  };
  struct ClassAtom {
    Ranges ranges;
    bool is_set;  // as \d, which begins or ends no range
  };

  char Take() {
    const char c = rest_.front();
    rest_.remove_prefix(1);
    return c;
  }
  std::string_view TakeCharacter() {
    const std::string_view character = FirstCharacter(rest_);
    rest_.remove_prefix(character.size());
    return character;
  }
  bool At(char c) const { return !rest_.empty() && rest_.front() == c; }

  absl::StatusOr<std::string> Alternatives(int depth) {
    if (depth > kMaxDepth) return Unsupported("too many groups in each other");
    std::string all;
    while (true) {
      ASSIGN_OR_RETURN(const std::string sequence, Sequence(depth));
      all += sequence.empty() ? "\"\"" : sequence;
      if (!At('|')) return all;
      Take();
      all += " | ";
    }
  }

  // An anchor that only some alternatives have counts for all: what is left is of the pattern, too.
  absl::StatusOr<std::string> Sequence(int depth) {
    if (depth == 0 && At('^')) {
      Take();
      has_start_ = true;
    }
    std::string sequence;
    while (!rest_.empty() && !At('|') && !At(')')) {
      if (depth == 0 && (rest_ == "$" || rest_.starts_with("$|"))) {
        Take();
        has_end_ = true;
        break;
      }
      ASSIGN_OR_RETURN(const std::string repeated, Repeated(depth));
      sequence += (sequence.empty() ? "" : " ") + repeated;
    }
    return sequence;
  }

  absl::StatusOr<std::string> Repeated(int depth) {
    const int choices = choices_;
    ASSIGN_OR_RETURN(std::string atom, Atom(depth));
    ASSIGN_OR_RETURN(const Repetition repetition, TakeRepetition());
    if (repetition.most > 1) copies_ += repetition.most;
    choices_ = choices + (choices_ - choices) * repetition.most + (repetition.varies ? 1 : 0);
    if (copies_ > kMaxCopies) {
      return Unsupported(fmt::format("repetitions of more than {} in all", kMaxCopies));
    }
    if (choices_ > kMaxChoices) {
      return Unsupported(
          fmt::format("more than {} parts of which there may be more or fewer", kMaxChoices));
    }
    // As a rule a class is kept once, else with each copy.
    if (repetition.most > 1 && atom.front() == '[') atom = grammar_->Add("class", std::move(atom));
    return atom + repetition.text;
  }

  absl::StatusOr<std::string> Atom(int depth) {
    const std::string_view character = TakeCharacter();
    const char c = character.front();
    if (c == '(') return Group(depth);
    if (c == '[') return Class();
    if (c == '.') return fmt::format("[^{}\\u2028\\u2029]", kNotInJson);  // of one line
    if (c == '\\') return Escape();
    if (c == '^' || c == '$') return Unsupported("an anchor within it");
    if (c == '*' || c == '+' || c == '?' || c == '{') return Unsupported("a repetition of nothing");
    return Literal(character);
  }

  // A character as it stands in a JSON string.
  static absl::StatusOr<std::string> Literal(std::string_view character) {
    if (static_cast<unsigned char>(character.front()) < 0x20) {
      return Unsupported("a control character");
    }
    if (character != "\"" && character != "\\") return GbnfLiteral(character);
    return GbnfLiteral(fmt::format("\\{}", character));
  }

  absl::StatusOr<std::string> Group(int depth) {
    if (At('?')) {
      if (!rest_.starts_with("?:")) return Unsupported("a look-around or a named group");
      rest_.remove_prefix(2);
    }
    ASSIGN_OR_RETURN(const std::string inside, Alternatives(depth + 1));
    if (!At(')')) return Unsupported("a ( without its )");
    Take();
    return fmt::format("( {} )", inside);
  }

  absl::StatusOr<std::string> Escape() {
    if (rest_.empty()) return Unsupported("a \\ at its end");
    const std::string_view character = TakeCharacter();
    const char c = character.front();
    const Ranges set = KnownSet(c, /*negated=*/false);
    if (!set.empty()) return fmt::format("[{}]", ClassText(set));
    if (std::isalnum(static_cast<unsigned char>(c)) != 0) {
      return Unsupported(fmt::format("\\{}", c));
    }
    return Literal(character);
  }

  absl::StatusOr<std::string> Class() {
    const bool negated = At('^');
    if (negated) Take();
    if (At(']')) return Unsupported("a class that begins with ]");  // nothing, or ]: readers differ
    Ranges ranges;
    while (!rest_.empty() && !At(']')) RETURN_IF_ERROR(AddMember(negated, &ranges));
    if (rest_.empty()) return Unsupported("a [ without its ]");
    Take();
    if (negated) {
      Ranges out = ranges;
      for (const Range& kept_out : kKeptOut) out.push_back(kept_out);  // GCC 14 warns of insert()
      if (HasAll(std::move(out))) return Unsupported("a class that leaves no character");
      return fmt::format("[^{}{}]", ClassText(ranges), kNotInJson);
    }
    Ranges plain = ranges;
    for (const Range& out : kKeptOut) plain = Without(plain, out);
    std::vector<std::string> ways;
    if (!plain.empty()) ways.push_back(fmt::format("[{}]", ClassText(plain)));
    for (const char c : {'"', '\\'}) {
      if (Has(ranges, static_cast<unsigned char>(c))) {
        ways.push_back(GbnfLiteral(fmt::format("\\{}", c)));
      }
    }
    if (ways.empty()) return Unsupported("a class of nothing but control characters");
    return ways.size() == 1 ? ways.front() : fmt::format("( {} )", fmt::join(ways, " | "));
  }

  // A character, a range, or a set like \d.
  absl::Status AddMember(bool negated, Ranges* ranges) {
    ASSIGN_OR_RETURN(const ClassAtom from, TakeClassAtom(negated));
    ranges->insert(ranges->end(), from.ranges.begin(), from.ranges.end());
    if (rest_.size() < 2 || rest_[0] != '-' || rest_[1] == ']') return absl::OkStatus();
    Take();
    ASSIGN_OR_RETURN(const ClassAtom to, TakeClassAtom(negated));
    ranges->insert(ranges->end(), to.ranges.begin(), to.ranges.end());
    if (from.is_set || to.is_set) {
      ranges->push_back({'-', '-'});
      return absl::OkStatus();
    }
    const Range range = {from.ranges[0].first, to.ranges[0].last};
    if (range.first > range.last)
      return Unsupported("a range in a class that ends before it begins");
    ranges->resize(ranges->size() - 2);
    ranges->push_back(range);
    return absl::OkStatus();
  }

  absl::StatusOr<ClassAtom> TakeClassAtom(bool negated) {
    std::string_view character = TakeCharacter();
    if (character == "\\") {
      if (rest_.empty()) return Unsupported("a [ without its ]");
      character = TakeCharacter();
      const char c = character.front();
      Ranges set = KnownSet(c, negated);
      if (!set.empty()) return ClassAtom{std::move(set), /*is_set=*/true};
      if (std::isalnum(static_cast<unsigned char>(c)) != 0) {
        return Unsupported(fmt::format("\\{} in a class", c));
      }
    }
    const uint32_t code_point = CodePoint(character);
    return ClassAtom{{{code_point, code_point}}, /*is_set=*/false};
  }

  absl::StatusOr<Repetition> TakeRepetition() {
    Repetition repetition;
    if (At('*') || At('+') || At('?')) {
      repetition = {.text = std::string(1, Take()), .varies = true};
    } else if (At('{')) {
      ASSIGN_OR_RETURN(repetition, Counts());
    }
    if (!repetition.text.empty() && (At('?') || At('+'))) return Unsupported("a lazy repetition");
    return repetition;
  }

  // Of a repetition whose most is less than its least the worker's library makes rules without end.
  absl::StatusOr<Repetition> Counts() {
    Take();
    const int least = TakeCount();
    int most = least;
    bool has_most = true;
    if (At(',')) {
      Take();
      has_most = !At('}');
      if (has_most) most = TakeCount();
    }
    if (least < 0 || most < 0 || !At('}')) return Unsupported("a { that is no repetition");
    Take();
    if (std::max(least, most) > kMaxRepeats) {
      return Unsupported(fmt::format("a repetition of more than {}", kMaxRepeats));
    }
    if (least > most) return Unsupported("a repetition whose most is less than its least");
    return Repetition{
        .text = has_most ? fmt::format("{{{},{}}}", least, most) : fmt::format("{{{},}}", least),
        .most = std::max(most, 1),
        .varies = !has_most || least < most};
  }

  // Less than 0 where there is none.
  int TakeCount() {
    if (rest_.empty() || std::isdigit(static_cast<unsigned char>(rest_.front())) == 0) return -1;
    int count = 0;
    while (!rest_.empty() && std::isdigit(static_cast<unsigned char>(rest_.front())) != 0) {
      count = std::min(count * 10 + (Take() - '0'), kMaxRepeats + 1);
    }
    return count;
  }

  std::string_view rest_;
  Gbnf* const grammar_;
  bool has_start_ = false, has_end_ = false;
  int copies_ = 0, choices_ = 0;  // so far
};

}  // namespace

absl::StatusOr<std::string> PatternToGbnf(std::string_view pattern, Gbnf* grammar) {
  return Reader(pattern, grammar).Read();
}

}  // namespace corpgrid::gateway
