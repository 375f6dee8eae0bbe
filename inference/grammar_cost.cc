#include "inference/grammar_cost.h"

#include <algorithm>
#include <cctype>
#include <charconv>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "base/status_macros.h"
#include "fmt/format.h"

namespace corpgrid::inference {
namespace {

constexpr size_t kElementBytes = 40;  // of the library's, with its share of what holds it
constexpr int kMaxDepth = 1000;       // of rules that begin with each other: the library recurses

struct Item {
  int rule = -1;  // what it is, if not text
  size_t elements = 1;
  double least = 1;  // times
  double most = 1;   // 0: as often as one likes
  bool is_empty = false;
};

struct Rule {
  std::vector<std::vector<Item>> alternatives;
  std::string name = {};  // none: in parentheses
};

// Parentheses become rules, as in the library.
class Reader {
 public:
  explicit Reader(std::string_view text) : text_(text) {}

  std::vector<Rule> Read() {
    while (SkipSpace(), at_ < text_.size()) {
      const int rule = RuleOf(Name());
      SkipSpace();
      if (text_.substr(at_).starts_with("::="))
        at_ += 3;
      else
        ++at_;  // no grammar, which the library says
      SkipSpace();
      Alternatives(rule, /*nested=*/false);
    }
    return std::move(rules_);
  }

 private:
  static bool IsOfName(char c) { return std::isalnum(static_cast<unsigned char>(c)) || c == '-'; }

  char Here() const { return at_ < text_.size() ? text_[at_] : '\0'; }

  void SkipSpace(bool lines = true) {
    while (at_ < text_.size()) {
      const char c = text_[at_];
      if (c == '#') {
        while (at_ < text_.size() && text_[at_] != '\n' && text_[at_] != '\r') ++at_;
      } else if (c == ' ' || c == '\t' || (lines && (c == '\n' || c == '\r'))) {
        ++at_;
      } else {
        return;
      }
    }
  }

  std::string Name() {
    const size_t begin = at_;
    while (at_ < text_.size() && IsOfName(text_[at_])) ++at_;
    return std::string(text_.substr(begin, at_ - begin));
  }

  int RuleOf(const std::string& name) {
    const auto [it, is_new] = names_.emplace(name, static_cast<int>(rules_.size()));
    if (is_new) rules_.push_back({.alternatives = {}, .name = name});
    return it->second;
  }

  // What stands between here and `end`, of which there may be one behind a backslash.
  size_t SkipTo(char end) {
    size_t characters = 0;
    for (++at_; at_ < text_.size() && text_[at_] != end; ++at_, ++characters) {
      if (text_[at_] == '\\') ++at_;
    }
    ++at_;
    return characters;
  }

  void Alternatives(int rule, bool nested) {
    std::vector<std::vector<Item>> all(1);
    while (true) {
      SkipSpace(nested);
      const char c = Here();
      if (c == '|') {
        ++at_;
        SkipSpace();
        all.emplace_back();
      } else if (c == '\0' || c == '\n' || c == '\r' || c == ')') {
        if (c == ')') ++at_;
        break;
      } else {
        all.back().push_back(OneItem());
      }
    }
    std::move(all.begin(), all.end(), std::back_inserter(rules_[rule].alternatives));
  }

  Item OneItem() {
    Item item;
    const char c = Here();
    if (c == '"') {
      item.elements = SkipTo('"');
      item.is_empty = item.elements == 0;
    } else if (c == '[') {
      item.elements = std::max<size_t>(1, SkipTo(']'));
    } else if (c == '<') {
      SkipTo('>');
    } else if (c == '(') {
      ++at_;
      item.rule = static_cast<int>(rules_.size());
      rules_.emplace_back();
      Alternatives(item.rule, /*nested=*/true);
    } else if (IsOfName(c)) {
      item.rule = RuleOf(Name());
    } else {
      ++at_;  // any character, or something that the library refuses
    }
    bool repeated = false;
    for (SkipSpace(false); IsRepetition(Here()); SkipSpace(false)) {
      if (std::exchange(repeated, true)) {  // as the library does: a rule that is repeated again
        rules_.push_back({.alternatives = {{item}}});
        item = {.rule = static_cast<int>(rules_.size()) - 1};
      }
      Repeats(&item);
    }
    return item;
  }

  static bool IsRepetition(char c) { return c == '*' || c == '+' || c == '?' || c == '{'; }

  // Reads how often the item may come.
  void Repeats(Item* item) {
    const char c = Here();
    ++at_;
    double least = c == '+' ? 1 : 0, most = c == '?' ? 1 : 0;
    if (c == '{') {
      least = Number();
      SkipSpace();
      most = least;
      if (Here() == ',') {
        ++at_;
        SkipSpace();
        most = std::isdigit(static_cast<unsigned char>(Here())) ? Number() : 0;
      }
      while (at_ < text_.size() && text_[at_++] != '}') {
      }
    }
    // Each time is written down, those that need not come as a rule each.
    const double written = std::max({1.0, least, most});
    item->elements = static_cast<size_t>(std::min(1e9, (item->elements + 1) * written));
    item->least = least;
    item->most = most;
  }

  double Number() {
    double number = 0;
    for (; std::isdigit(static_cast<unsigned char>(Here())); ++at_) {
      number = std::min(1e9, number * 10 + (Here() - '0'));
    }
    return number;
  }

  const std::string_view text_;
  size_t at_ = 0;
  std::map<std::string, int> names_;
  std::vector<Rule> rules_;
};

// The ways through something: to a first character, and to its end without one.
struct Ways {
  double beginnings = 0;
  double empty = 1;

  // These, where they come after `first`.
  Ways After(const Ways& first) const {
    return {first.beginnings + first.empty * beginnings, first.empty * empty};
  }
  bool too_many() const { return beginnings + empty > GrammarCost::kMaxBeginnings; }
};

class Counter {
 public:
  explicit Counter(std::vector<Rule>* rules) : rules_(*rules), ways_(rules->size()) {}

  absl::Status CountAll() {
    for (size_t i = 0; i < rules_.size(); ++i) RETURN_IF_ERROR(Count(static_cast<int>(i), 0));
    // The library also looks for what comes next in the middle of a rule.
    for (const Rule& rule : rules_) {
      for (const auto& items : rule.alternatives) {
        Ways rest;
        for (size_t i = items.size(); i-- > 0;) {
          rest = rest.After(WaysOf(items[i]));
          if (rest.too_many()) return TooMany(rule);
        }
      }
    }
    return absl::OkStatus();
  }

  double most() const {
    double most = 0;
    for (const auto& ways : ways_) most = std::max(most, ways->beginnings);
    return most;
  }

 private:
  static std::string NameOf(const Rule& rule) {
    return rule.name.empty() ? "a part in parentheses" : "rule " + rule.name;
  }
  static absl::Status TooMany(const Rule& rule) {
    return absl::InvalidArgumentError(
        fmt::format("{} of the grammar has more than {} ways to begin; fewer alternatives within "
                    "alternatives are needed",
                    NameOf(rule), GrammarCost::kMaxBeginnings));
  }

  // Of an item whose rule was counted.
  Ways WaysOf(const Item& item) const {
    const Ways once =
        item.rule >= 0 ? *ways_[item.rule] : Ways{item.is_empty ? 0. : 1., item.is_empty ? 1. : 0.};
    Ways ways;
    // Those that need not come: each is there, with the next ones, or all of them are not.
    const double optional = item.most == 0 ? 1 : item.most - item.least;
    for (double i = 0; i < std::min(optional, kMaxLoops) && !ways.too_many(); ++i) {
      ways = ways.After(once);
      ways.empty += 1;
      if (once.empty == 0) break;  // the next ones are never reached
    }
    for (double i = 0; i < std::min(item.least, kMaxLoops) && !ways.too_many(); ++i) {
      ways = ways.After(once);
      if (once.empty == 0) break;
    }
    return ways;
  }

  absl::Status Count(int index, int depth) {
    const Rule& rule = rules_[index];
    if (ways_[index]) return absl::OkStatus();
    if (in_progress_.contains(index)) {
      return absl::InvalidArgumentError(
          fmt::format("the grammar has no end: {} begins with itself", NameOf(rule)));
    }
    if (depth > kMaxDepth) {
      return absl::InvalidArgumentError(
          fmt::format("more than {} rules of the grammar begin with each other", kMaxDepth));
    }
    in_progress_.insert(index);
    Ways sum{0, 0};
    for (const auto& items : rule.alternatives) {
      Ways ways;
      for (const Item& item : items) {
        if (item.rule >= 0) RETURN_IF_ERROR(Count(item.rule, depth + 1));
        ways = WaysOf(item).After(ways);
        if (ways.empty == 0) break;
      }
      sum.beginnings += ways.beginnings;
      sum.empty += ways.empty;
      if (sum.too_many()) return TooMany(rule);
    }
    in_progress_.erase(index);
    ways_[index] = sum;
    return absl::OkStatus();
  }

  static constexpr double kMaxLoops = GrammarCost::kMaxBeginnings + 1;

  const std::vector<Rule>& rules_;
  std::vector<std::optional<Ways>> ways_;
  std::set<int> in_progress_;
};

}  // namespace

absl::StatusOr<GrammarCost> CostOf(std::string_view grammar) {
  std::vector<Rule> rules = Reader(grammar).Read();
  Counter counter(&rules);
  RETURN_IF_ERROR(counter.CountAll());
  GrammarCost cost{.beginnings = counter.most()};
  for (const Rule& rule : rules) {
    for (const auto& items : rule.alternatives) {
      for (const Item& item : items) cost.bytes += item.elements * kElementBytes;
    }
  }
  return cost;
}

}  // namespace corpgrid::inference
