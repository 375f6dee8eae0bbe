#pragma once

#include <array>
#include <compare>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

// The Merkle tree of RFC 6962 (section 2.1) over SHA-256: a leaf is SHA-256(0x00 || entry), a node
// SHA-256(0x01 || left || right), the root over n > 1 leaves the node of the roots over the first k
// and over the rest, k being the largest power of two below n.
namespace corpgrid::audit {

// Of a leaf, a node or a root. A type of its own: crypto::Hash is BLAKE3.
struct TreeHash {
  std::array<uint8_t, 32> bytes{};

  auto operator<=>(const TreeHash&) const = default;
  // The 32 bytes, valid as long as this hash.
  std::string_view Raw() const;
  std::string Hex() const;
  // Errors: InvalidArgument for anything but 32 bytes.
  static absl::StatusOr<TreeHash> FromRaw(std::string_view raw);
};

TreeHash LeafHash(std::string_view entry);
TreeHash NodeHash(const TreeHash& left, const TreeHash& right);

// SHA-256 of what is no tree at all: checkpoints name keys by it.
TreeHash Sha256(std::string_view bytes);

// All that appending needs to know of a tree: the roots of its complete subtrees, at most 64. One
// thread.
class Frontier {
 public:
  Frontier() = default;
  // What Raw() gave for a tree of `size` leaves. Errors: DataLoss for what cannot be.
  static absl::StatusOr<Frontier> Load(uint64_t size, std::string_view raw);

  uint64_t size() const { return size_; }
  // Returns the roots of the complete subtrees that end with the new leaf, the leaf itself first.
  std::vector<TreeHash> Append(const TreeHash& leaf);
  // Of a tree without leaves: SHA-256 of nothing.
  TreeHash Root() const;
  // 32 bytes a subtree, the largest first.
  std::string Raw() const;

 private:
  uint64_t size_ = 0;
  std::vector<TreeHash> subtrees_;  // the largest, which is the first in the tree, first
};

// How many hashes Append returns for leaf `index`.
int CompletedBy(uint64_t index);

}  // namespace corpgrid::audit
