#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "audit/proof.h"
#include "audit/tree.h"
#include "fmt/format.h"

namespace corpgrid::audit {

// A whole tree in memory, kept as a store keeps it: with each leaf the nodes that it completes.
struct TestTree {
  void Append(std::string_view entry) {
    leaves.push_back(LeafHash(entry));
    nodes.push_back(frontier.Append(leaves.back()));
    roots.push_back(frontier.Root());
  }
  static TestTree OfSize(uint64_t size) {
    TestTree tree;
    for (uint64_t i = 0; i < size; ++i) tree.Append(fmt::format("entry {}", i));
    return tree;
  }
  ReadNode Reader() const {
    return [this](int level, uint64_t index) -> absl::StatusOr<TreeHash> {
      return nodes.at(LastLeafOf(level, index)).at(static_cast<size_t>(level));
    };
  }

  Frontier frontier;
  std::vector<TreeHash> leaves;
  std::vector<std::vector<TreeHash>> nodes;
  std::vector<TreeHash> roots = {frontier.Root()};  // by size
};

}  // namespace corpgrid::audit
