#include "inference/grammar_cost.h"

#include <algorithm>
#include <cctype>
#include <charconv>
#include <map>
#include <string>
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
  double most = 1;  // times; 0: as often as one likes
  bool may_be_empty = false;
};

struct Rule {
  std::vector<std::vector<Item>> alternatives;
  std::string name = {};  // none: in parentheses
  bool may_be_empty = false;
  bool in_progress = false;
  double beginnings = 0;  // 0: not counted yet
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
        while (at_ < text_.size() && text_[at_] != '\n') ++at_;
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
      item.may_be_empty = item.elements == 0;
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
    for (SkipSpace(false); Repeats(&item); SkipSpace(false)) {
    }
    return item;
  }

  // Reads how often the item may come, where that stands here.
  bool Repeats(Item* item) {
    const char c = Here();
    if (c != '*' && c != '+' && c != '?' && c != '{') return false;
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
    const double written = std::max({1.0, least, most});
    item->elements = static_cast<size_t>(std::min(1e9, item->elements * written * 3));
    item->most = most == 0 || item->most == 0 ? 0 : item->most * most;
    item->may_be_empty |= least == 0;
    return true;
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

bool MayBeEmpty(const std::vector<Rule>& rules, const Item& item) {
  return item.may_be_empty || (item.rule >= 0 && rules[item.rule].may_be_empty);
}

void FindEmpty(std::vector<Rule>* rules) {
  for (bool more = true; more;) {
    more = false;
    for (Rule& rule : *rules) {
      if (rule.may_be_empty) continue;
      for (const auto& items : rule.alternatives) {
        rule.may_be_empty |= std::all_of(
            items.begin(), items.end(), [&](const Item& item) { return MayBeEmpty(*rules, item); });
      }
      more |= rule.may_be_empty;
    }
  }
}

absl::Status Count(std::vector<Rule>* rules, int index, int depth) {
  Rule& rule = (*rules)[index];
  if (rule.beginnings > 0) return absl::OkStatus();
  const std::string name = rule.name.empty() ? "a part in parentheses" : "rule " + rule.name;
  if (rule.in_progress) {
    return absl::InvalidArgumentError(
        fmt::format("the grammar has no end: {} begins with itself", name));
  }
  if (depth > kMaxDepth) {
    return absl::InvalidArgumentError(
        fmt::format("more than {} rules of the grammar begin with each other", kMaxDepth));
  }
  rule.in_progress = true;
  double sum = 1;
  for (const auto& items : rule.alternatives) {
    for (const Item& item : items) {
      double beginnings = 1;
      if (item.rule >= 0) {
        RETURN_IF_ERROR(Count(rules, item.rule, depth + 1));
        beginnings = (*rules)[item.rule].beginnings + 1;
      }
      const bool empty_inside = item.rule >= 0 && (*rules)[item.rule].may_be_empty;
      // Each time is followed by each other one: {0,9} of what may be empty.
      if (empty_inside && item.most > 1) beginnings *= beginnings * item.most * item.most;
      sum += beginnings;
      if (!MayBeEmpty(*rules, item)) break;
    }
  }
  rule.in_progress = false;
  rule.beginnings = sum;
  if (sum <= GrammarCost::kMaxBeginnings) return absl::OkStatus();
  return absl::InvalidArgumentError(
      fmt::format("{} of the grammar has more than {} ways to begin; fewer alternatives within "
                  "alternatives are needed",
                  name, GrammarCost::kMaxBeginnings));
}

}  // namespace

absl::StatusOr<GrammarCost> CostOf(std::string_view grammar) {
  std::vector<Rule> rules = Reader(grammar).Read();
  FindEmpty(&rules);
  GrammarCost cost;
  for (size_t i = 0; i < rules.size(); ++i) {
    RETURN_IF_ERROR(Count(&rules, static_cast<int>(i), 0));
    cost.beginnings = std::max(cost.beginnings, rules[i].beginnings);
    for (const auto& items : rules[i].alternatives) {
      for (const Item& item : items) cost.bytes += item.elements * kElementBytes;
    }
  }
  return cost;
}

}  // namespace corpgrid::inference
