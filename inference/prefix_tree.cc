#include "inference/prefix_tree.h"

#include <algorithm>
#include <utility>

#include "base/check.h"

namespace corpgrid::inference {

PrefixTree::PrefixTree(uint32_t texts) : root_(std::make_unique<Node>()), ends_(texts, root()) {}

PrefixTree::~PrefixTree() = default;

template <typename F>
PrefixTree::Walk PrefixTree::Descend(std::span<const Token> tokens, F at_node) const {
  Walk walk = {root(), 0};
  while (walk.length == walk.node->depth && walk.length < tokens.size()) {
    const auto child = walk.node->children.find(tokens[walk.length]);
    if (child == walk.node->children.end()) break;
    walk.node = child->second.get();
    const std::vector<Token>& edge = walk.node->tokens;
    const auto rest = tokens.subspan(walk.length);
    const auto part = std::mismatch(edge.begin(), edge.end(), rest.begin(), rest.end()).first;
    walk.length += static_cast<uint32_t>(part - edge.begin());
    if (walk.length == walk.node->depth) at_node(*walk.node);
  }
  return walk;
}

uint32_t PrefixTree::Longest(std::span<const Token> tokens) const {
  return Descend(tokens, [](const Node&) {}).length;
}

std::vector<uint32_t> PrefixTree::TextsWith(std::span<const Token> tokens) const {
  const Walk walk = Descend(tokens, [](const Node&) {});
  if (tokens.empty() || walk.length < tokens.size()) return {};
  std::vector<uint32_t> found;
  std::vector<const Node*> todo = {walk.node};
  while (!todo.empty()) {
    const Node* node = todo.back();
    todo.pop_back();
    found.insert(found.end(), node->texts.begin(), node->texts.end());
    for (const auto& [token, child] : node->children) todo.push_back(child.get());
  }
  return found;
}

std::vector<uint32_t> PrefixTree::TextsWithin(std::span<const Token> tokens) const {
  std::vector<uint32_t> found;
  Descend(tokens, [&](const Node& node) {
    found.insert(found.end(), node.texts.begin(), node.texts.end());
  });
  return found;
}

void PrefixTree::Append(uint32_t text, std::span<const Token> tokens) {
  if (tokens.empty()) return;
  Node* const from = ends_[text];
  if (from != root() && from->children.empty() && from->texts.size() == 1) {  // its own leaf
    from->tokens.insert(from->tokens.end(), tokens.begin(), tokens.end());
    from->depth += static_cast<uint32_t>(tokens.size());
    return;
  }
  Node* node = from;
  while (!tokens.empty()) {
    std::unique_ptr<Node>& child = node->children[tokens[0]];
    if (child == nullptr) {
      child = std::make_unique<Node>();
      child->parent = node;
      child->depth = node->depth + static_cast<uint32_t>(tokens.size());
      child->tokens.assign(tokens.begin(), tokens.end());
      node = child.get();
      break;
    }
    const std::vector<Token>& edge = child->tokens;
    const auto part = std::mismatch(edge.begin(), edge.end(), tokens.begin(), tokens.end()).first;
    const auto common = static_cast<uint32_t>(part - edge.begin());
    node = At(child.get(), node->depth + common);
    tokens = tokens.subspan(common);
  }
  MoveTo(node, text);
}

void PrefixTree::Cut(uint32_t text, uint32_t length) {
  CHECK_INVARIANT(length <= this->length(text));
  MoveTo(At(ends_[text], length), text);
}

void PrefixTree::Copy(uint32_t from, uint32_t to, uint32_t length) {
  CHECK_INVARIANT(this->length(to) == 0 && length <= this->length(from));
  MoveTo(At(ends_[from], length), to);
}

PrefixTree::Node* PrefixTree::At(Node* below, uint32_t depth) {
  while (below->parent != nullptr && below->parent->depth >= depth) below = below->parent;
  return below->depth == depth ? below : Split(below, depth);
}

PrefixTree::Node* PrefixTree::Split(Node* node, uint32_t depth) {
  std::unique_ptr<Node>& place = node->parent->children.at(node->tokens[0]);
  std::unique_ptr<Node> lower = std::exchange(place, std::make_unique<Node>());
  Node* const upper = place.get();
  const auto middle = node->tokens.begin() + (depth - node->parent->depth);
  upper->parent = node->parent;
  upper->depth = depth;
  upper->tokens.assign(node->tokens.begin(), middle);
  node->tokens.erase(node->tokens.begin(), middle);
  node->parent = upper;
  upper->children.emplace(node->tokens[0], std::move(lower));
  return upper;
}

void PrefixTree::MoveTo(Node* node, uint32_t text) {
  Node* const left = std::exchange(ends_[text], node);
  if (left == node) return;
  std::erase(left->texts, text);
  if (node != root()) node->texts.push_back(text);
  Tidy(left);
}

void PrefixTree::Tidy(Node* node) {
  while (node != root() && node->texts.empty() && node->children.empty()) {
    node = node->parent;
    std::erase_if(node->children, [](const auto& child) {
      return child.second->texts.empty() && child.second->children.empty();
    });
  }
  if (node == root() || !node->texts.empty() || node->children.size() != 1) return;
  std::unique_ptr<Node> only = std::move(node->children.begin()->second);
  only->tokens.insert(only->tokens.begin(), node->tokens.begin(), node->tokens.end());
  only->parent = node->parent;
  node->parent->children.at(only->tokens[0]) = std::move(only);  // and `node` is gone
}

}  // namespace corpgrid::inference
