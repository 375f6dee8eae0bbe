#pragma once

#include <algorithm>
#include <cctype>
#include <cstdint>
#include <cstdlib>
#include <map>
#include <memory>
#include <random>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/check.h"

namespace corpgrid::gateway {

// Says whether a text is of a grammar, for tests: all ends that a rule can have, from a start. And
// writes such texts. Knows the notation that this floor writes; both are UTF-8.
class TestGrammar {
 public:
  explicit TestGrammar(std::string_view text) {
    while (!text.empty()) {
      const size_t end = text.find('\n');
      std::string_view line = text.substr(0, end);
      text = end == std::string_view::npos ? "" : text.substr(end + 1);
      const size_t is = line.find(" ::= ");
      CHECK_INVARIANT(is != std::string_view::npos);
      rest_ = line.substr(is + 5);
      rules_[std::string(line.substr(0, is))] = Alternatives();
      CHECK_INVARIANT(rest_.empty());
    }
  }

  bool Matches(std::string_view text) const {
    std::u32string code_points;
    while (!text.empty()) code_points += TakeCodePoint(&text);
    return Ends(*rules_.at("root"), code_points, {0}).contains(code_points.size());
  }

  // Some text of the grammar: repetitions of few things are as often as they may be, others rarely
  // more than the least.
  std::string Write(std::mt19937* random) const {
    std::string text;
    Write(*rules_.at("root"), random, &text);
    return text;
  }

 private:
  using Positions = std::set<size_t>;
  struct Node {
    enum class Kind : uint8_t { kLiteral, kClass, kRule, kSequence, kAlternatives, kRepeat };
    Kind kind = Kind::kSequence;
    std::u32string literal;
    std::vector<std::pair<char32_t, char32_t>> ranges;  // of a class
    std::string name;                                   // of a rule
    bool negated = false;
    size_t least = 0, most = SIZE_MAX;
    std::vector<std::unique_ptr<Node>> parts;

    bool Has(char32_t c) const {
      for (const auto& [from, to] : ranges) {
        if (from <= c && c <= to) return !negated;
      }
      return negated;
    }
  };
  using NodePtr = std::unique_ptr<Node>;

  static char32_t TakeCodePoint(std::string_view* text) {
    const auto take = [&] {
      const auto byte = static_cast<unsigned char>(text->front());
      text->remove_prefix(1);
      return static_cast<char32_t>(byte);
    };
    const char32_t first = take();
    const int more = first < 0xC0 ? 0 : first < 0xE0 ? 1 : first < 0xF0 ? 2 : 3;
    char32_t code_point = more == 0 ? first : first & (0x3Fu >> more);
    for (int i = 0; i < more && !text->empty(); ++i) {
      code_point = (code_point << 6) | (take() & 0x3Fu);
    }
    return code_point;
  }

  static void AddUtf8(char32_t c, std::string* text) {
    const auto add = [&](char32_t byte) { *text += static_cast<char>(byte); };
    if (c < 0x80) {
      add(c);
    } else if (c < 0x800) {
      add(0xC0 | (c >> 6));
    } else if (c < 0x10000) {
      add(0xE0 | (c >> 12));
    } else {
      add(0xF0 | (c >> 18));
      add(0x80 | ((c >> 12) & 0x3F));
    }
    if (c >= 0x800) add(0x80 | ((c >> 6) & 0x3F));
    if (c >= 0x80) add(0x80 | (c & 0x3F));
  }

  char Take() {
    const char c = rest_.front();
    rest_.remove_prefix(1);
    return c;
  }
  bool At(char c) const { return !rest_.empty() && rest_.front() == c; }
  void SkipBlanks() {
    while (At(' ')) Take();
  }

  char32_t TakeChar() {
    if (!At('\\')) return TakeCodePoint(&rest_);
    Take();
    const char escaped = Take();
    if (escaped == 'n') return '\n';
    if (escaped == 't') return '\t';
    const size_t digits = escaped == 'x' ? 2 : escaped == 'u' ? 4 : escaped == 'U' ? 8 : 0;
    if (digits == 0) return static_cast<unsigned char>(escaped);
    const std::string hex(rest_.substr(0, digits));
    rest_.remove_prefix(digits);
    return static_cast<char32_t>(std::strtoul(hex.c_str(), nullptr, 16));
  }

  NodePtr Alternatives() {
    auto all = std::make_unique<Node>();
    all->kind = Node::Kind::kAlternatives;
    do {
      auto sequence = std::make_unique<Node>();
      SkipBlanks();
      while (!rest_.empty() && !At('|') && !At(')')) {
        sequence->parts.push_back(Repeated(Atom()));
        SkipBlanks();
      }
      all->parts.push_back(std::move(sequence));
    } while (At('|') && Take() == '|');
    return all;
  }

  NodePtr Atom() {
    auto node = std::make_unique<Node>();
    if (At('"')) {
      Take();
      node->kind = Node::Kind::kLiteral;
      while (!At('"')) node->literal += TakeChar();
      Take();
    } else if (At('.')) {
      Take();
      node->kind = Node::Kind::kClass;
      node->negated = true;
    } else if (At('[')) {
      Take();
      node->kind = Node::Kind::kClass;
      node->negated = At('^');
      if (node->negated) Take();
      while (!At(']')) {
        const char32_t from = TakeChar();
        char32_t to = from;
        if (At('-') && rest_[1] != ']') {
          Take();
          to = TakeChar();
        }
        CHECK_INVARIANT(from <= to);
        node->ranges.emplace_back(from, to);
      }
      Take();
    } else if (At('(')) {
      Take();
      node = Alternatives();
      CHECK_INVARIANT(Take() == ')');
    } else {
      node->kind = Node::Kind::kRule;
      while (!rest_.empty() && (std::isalnum(static_cast<unsigned char>(rest_[0])) || At('-'))) {
        node->name += Take();
      }
      CHECK_INVARIANT(!node->name.empty());
    }
    return node;
  }

  NodePtr Repeated(NodePtr atom) {
    auto node = std::make_unique<Node>();
    node->kind = Node::Kind::kRepeat;
    if (At('?')) {
      node->most = 1;
    } else if (At('+')) {
      node->least = 1;
    } else if (At('{')) {
      const size_t end = rest_.find('}');
      const std::string inside(rest_.substr(1, end - 1));
      const size_t comma = inside.find(',');
      node->least = std::strtoul(inside.c_str(), nullptr, 10);
      if (comma == std::string::npos) node->most = node->least;
      if (comma + 1 < inside.size())
        node->most = std::strtoul(inside.c_str() + comma + 1, nullptr, 10);
      CHECK_INVARIANT(node->least <= node->most);
      rest_.remove_prefix(end);
    } else if (!At('*')) {
      return atom;
    }
    Take();
    node->parts.push_back(std::move(atom));
    return node;
  }

  Positions Ends(const Node& node, std::u32string_view text, const Positions& starts) const {
    Positions ends;
    switch (node.kind) {
      case Node::Kind::kLiteral:
        for (const size_t at : starts) {
          if (text.substr(at).starts_with(node.literal)) ends.insert(at + node.literal.size());
        }
        return ends;
      case Node::Kind::kClass:
        for (const size_t at : starts) {
          if (at < text.size() && node.Has(text[at])) ends.insert(at + 1);
        }
        return ends;
      case Node::Kind::kRule:
        return starts.empty() ? ends : Ends(*rules_.at(node.name), text, starts);
      case Node::Kind::kSequence:
        ends = starts;
        for (const NodePtr& part : node.parts) {
          if (ends.empty()) break;
          ends = Ends(*part, text, ends);
        }
        return ends;
      case Node::Kind::kAlternatives:
        for (const NodePtr& part : node.parts) ends.merge(Ends(*part, text, starts));
        return ends;
      case Node::Kind::kRepeat: {
        Positions now = starts;
        for (size_t n = 0; n <= node.most && !now.empty(); ++n) {
          const size_t known = ends.size();
          if (n >= node.least) ends.insert(now.begin(), now.end());
          if (n > node.least && ends.size() == known) break;
          now = Ends(*node.parts[0], text, now);
        }
        return ends;
      }
    }
    return ends;
  }

  // The ends of a range come as often as what is between them.
  static char32_t SomeOf(const Node& node, std::mt19937* random) {
    constexpr char32_t kOthers[] = {'"', '\\', 0x0A, 0x7F, 0xE9, 0x20AC, 0x2028, 0x1F600};
    const auto below = [&](size_t end) { return static_cast<char32_t>((*random)() % end); };
    if (!node.negated) {
      const auto& [from, to] = node.ranges.at(below(node.ranges.size()));
      const char32_t way = below(3);
      return way == 0 ? from : way == 1 ? to : from + below(to - from + 1);
    }
    for (int tries = 0; tries < 1000; ++tries) {
      const char32_t c = below(2) == 0 ? 0x20 + below(95) : kOthers[below(8)];
      if (node.Has(c)) return c;
    }
    CHECK_INVARIANT(false);
    return 0;
  }

  void Write(const Node& node, std::mt19937* random, std::string* text) const {
    switch (node.kind) {
      case Node::Kind::kLiteral:
        for (const char32_t c : node.literal) AddUtf8(c, text);
        return;
      case Node::Kind::kClass:
        return AddUtf8(SomeOf(node, random), text);
      case Node::Kind::kRule:
        return Write(*rules_.at(node.name), random, text);
      case Node::Kind::kSequence:
        for (const NodePtr& part : node.parts) Write(*part, random, text);
        return;
      case Node::Kind::kAlternatives:
        return Write(*node.parts[(*random)() % node.parts.size()], random, text);
      case Node::Kind::kRepeat: {
        const size_t most = node.most <= 20 ? node.most : std::min(node.most, node.least + 3);
        size_t times = node.least + (*random)() % (most - node.least + 1);
        while (times-- > 0) Write(*node.parts[0], random, text);
        return;
      }
    }
  }

  std::string_view rest_;
  std::map<std::string, NodePtr> rules_;
};

}  // namespace corpgrid::gateway
