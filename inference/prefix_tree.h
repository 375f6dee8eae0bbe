#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <vector>

#include "inference/token.h"

namespace corpgrid::inference {

// Which of a fixed number of texts begin alike: a radix tree, in which each edge has the tokens up
// to the next place where texts part or one ends. The longest known beginning of a new text is
// found by reading that once, however many texts there are. One thread at a time.
class PrefixTree {
 public:
  explicit PrefixTree(uint32_t texts);  // 0 to `texts` - 1, all of them empty
  ~PrefixTree();

  uint32_t length(uint32_t text) const { return ends_[text]->depth; }

  void Append(uint32_t text, std::span<const Token> tokens);

  // Leaves the text its first `length` tokens; it has no fewer.
  void Cut(uint32_t text, uint32_t length);

  // The text `to`, which must be empty, has the first `length` tokens of `from` from now on.
  void Copy(uint32_t from, uint32_t to, uint32_t length);

  // How many of the first `tokens` some text begins with.
  uint32_t Longest(std::span<const Token> tokens) const;

  // The texts that begin with all of `tokens`, which are one at least.
  std::vector<uint32_t> TextsWith(std::span<const Token> tokens) const;

  // The texts, empty ones not counted, that `tokens` begins with: the shortest first.
  std::vector<uint32_t> TextsWithin(std::span<const Token> tokens) const;

 private:
  struct Node {
    Node* parent = nullptr;
    uint32_t depth = 0;         // tokens from the root to here
    std::vector<Token> tokens;  // of the edge that leads here: none to the root, else one at least
    std::map<Token, std::unique_ptr<Node>> children;  // by their first token
    std::vector<uint32_t> texts;                      // that end here
  };
  // How far down a text leads: `node` is the last whose edge it enters.
  struct Walk {
    const Node* node = nullptr;
    uint32_t length = 0;
  };
  template <typename F>
  Walk Descend(std::span<const Token> tokens, F at_node) const;

  // The node at a depth on the way from the root to `below`.
  Node* At(Node* below, uint32_t depth);
  // A node within the edge to `node`, where there was none.
  Node* Split(Node* node, uint32_t depth);
  void MoveTo(Node* node, uint32_t text);
  // Removes what leads nowhere, and a place where nothing parts any more.
  void Tidy(Node* node);
  Node* root() const { return root_.get(); }

  const std::unique_ptr<Node> root_;
  std::vector<Node*> ends_;  // by text
};

}  // namespace corpgrid::inference
