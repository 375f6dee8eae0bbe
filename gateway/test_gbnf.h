#pragma once

#include <cctype>
#include <cstdlib>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "base/check.h"

namespace corpgrid::gateway {

// Says whether a text is of a grammar, for tests: all ends that a rule can have, from a start.
// Knows the notation that this floor writes; characters are bytes.
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
    return Ends(*rules_.at("root"), text, {0}).contains(text.size());
  }

 private:
  using Positions = std::set<size_t>;
  struct Node {
    enum class Kind : uint8_t { kLiteral, kClass, kRule, kSequence, kAlternatives, kRepeat };
    Kind kind = Kind::kSequence;
    std::string text;  // of a literal; the members of a class; a rule's name
    bool negated = false;
    size_t least = 0, most = SIZE_MAX;
    std::vector<std::unique_ptr<Node>> parts;
  };
  using NodePtr = std::unique_ptr<Node>;

  char Take() {
    const char c = rest_.front();
    rest_.remove_prefix(1);
    return c;
  }
  bool At(char c) const { return !rest_.empty() && rest_.front() == c; }
  void SkipBlanks() {
    while (At(' ')) Take();
  }

  char TakeChar() {
    const char c = Take();
    if (c != '\\') return c;
    const char escaped = Take();
    if (escaped == 'n') return '\n';
    if (escaped == 't') return '\t';
    if (escaped != 'x') return escaped;
    const std::string hex(rest_.substr(0, 2));
    rest_.remove_prefix(2);
    return static_cast<char>(std::strtol(hex.c_str(), nullptr, 16));
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
      while (!At('"')) node->text += TakeChar();
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
        const char from = TakeChar();
        char to = from;
        if (At('-') && rest_[1] != ']') {
          Take();
          to = TakeChar();
        }
        for (int c = static_cast<unsigned char>(from); c <= static_cast<unsigned char>(to); ++c) {
          node->text += static_cast<char>(c);
        }
      }
      Take();
    } else if (At('(')) {
      Take();
      node = Alternatives();
      CHECK_INVARIANT(Take() == ')');
    } else {
      node->kind = Node::Kind::kRule;
      while (!rest_.empty() && (std::isalnum(static_cast<unsigned char>(rest_[0])) || At('-'))) {
        node->text += Take();
      }
      CHECK_INVARIANT(!node->text.empty());
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
      rest_.remove_prefix(end);
    } else if (!At('*')) {
      return atom;
    }
    Take();
    node->parts.push_back(std::move(atom));
    return node;
  }

  Positions Ends(const Node& node, std::string_view text, const Positions& starts) const {
    Positions ends;
    switch (node.kind) {
      case Node::Kind::kLiteral:
        for (const size_t at : starts) {
          if (text.substr(at).starts_with(node.text)) ends.insert(at + node.text.size());
        }
        return ends;
      case Node::Kind::kClass:
        for (const size_t at : starts) {
          if (at >= text.size()) continue;
          if ((node.text.find(text[at]) != std::string::npos) != node.negated) ends.insert(at + 1);
        }
        return ends;
      case Node::Kind::kRule:
        return starts.empty() ? ends : Ends(*rules_.at(node.text), text, starts);
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

  std::string_view rest_;
  std::map<std::string, NodePtr> rules_;
};

}  // namespace corpgrid::gateway
