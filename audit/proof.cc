#include "audit/proof.h"

#include <algorithm>
#include <bit>

#include "base/status_macros.h"
#include "fmt/format.h"

namespace corpgrid::audit {
namespace {

// The largest power of two below `count`, which is above 1.
uint64_t SplitOf(uint64_t count) { return std::bit_floor(count - 1); }

// The root over `count` leaves from `first` on, as the tree has it: `first` is a multiple of the
// largest complete subtree among them.
absl::StatusOr<TreeHash> RootOver(uint64_t first, uint64_t count, const ReadNode& read) {
  if (std::has_single_bit(count)) {
    const int level = std::countr_zero(count);
    return read(level, first >> level);
  }
  const uint64_t split = SplitOf(count);
  ASSIGN_OR_RETURN(const TreeHash left, RootOver(first, split, read));
  ASSIGN_OR_RETURN(const TreeHash right, RootOver(first + split, count - split, read));
  return NodeHash(left, right);
}

absl::Status NotShown(std::string_view what) {
  return absl::DataLossError(fmt::format("the proof does not show that {}", what));
}

// A node's way up, told by its number among the nodes of its level and that of the last one there.
struct Climb {
  uint64_t number;
  uint64_t last;

  void Up() {
    number >>= 1;
    last >>= 1;
  }
  // Whether the next hash of a proof stands to the left of the node.
  bool HashIsLeft() const { return (number & 1) != 0 || number == last; }
  // The last node of a level may be without a sibling for some levels: no hash is spent on them.
  void UpPastHash() {
    if ((number & 1) == 0 && number == last) {
      while (number != 0 && (number & 1) == 0) Up();
    }
    Up();
  }
};

}  // namespace

absl::StatusOr<Proof> ProveInclusion(uint64_t index, uint64_t size, const ReadNode& read) {
  if (index >= size) {
    return absl::OutOfRangeError(fmt::format("there is no entry {} among {}", index, size));
  }
  Proof proof;  // from the root down
  uint64_t first = 0;
  for (uint64_t count = size; count > 1;) {
    const uint64_t split = SplitOf(count);
    const bool left = index - first < split;
    ASSIGN_OR_RETURN(const TreeHash other, left ? RootOver(first + split, count - split, read)
                                                : RootOver(first, split, read));
    proof.push_back(other);
    if (!left) first += split;
    count = left ? split : count - split;
  }
  std::reverse(proof.begin(), proof.end());
  return proof;
}

absl::StatusOr<Proof> ProveConsistency(uint64_t old_size, uint64_t size, const ReadNode& read) {
  if (old_size > size) {
    return absl::OutOfRangeError(
        fmt::format("the log has {} entries: {} are not its beginning", size, old_size));
  }
  if (old_size == 0 || old_size == size) return Proof();
  Proof proof;  // from the root down
  uint64_t first = 0;
  uint64_t count = size;
  // Down to the subtree with which the old tree ends.
  while (old_size - first != count) {
    const uint64_t split = SplitOf(count);
    const bool left = old_size - first <= split;
    ASSIGN_OR_RETURN(const TreeHash other, left ? RootOver(first + split, count - split, read)
                                                : RootOver(first, split, read));
    proof.push_back(other);
    if (!left) first += split;
    count = left ? split : count - split;
  }
  if (first != 0) {  // else it is the old tree, whose root the verifier knows
    ASSIGN_OR_RETURN(const TreeHash end, RootOver(first, count, read));
    proof.push_back(end);
  }
  std::reverse(proof.begin(), proof.end());
  return proof;
}

absl::StatusOr<TreeHash> RootShownBy(const TreeHash& leaf, uint64_t index, uint64_t size,
                                     std::span<const TreeHash> proof) {
  if (index >= size) return NotShown(fmt::format("entry {} is among {}", index, size));
  Climb climb{.number = index, .last = size - 1};
  TreeHash hash = leaf;
  for (const TreeHash& other : proof) {
    if (climb.last == 0) return NotShown(fmt::format("entry {} is there: it is too long", index));
    hash = climb.HashIsLeft() ? NodeHash(other, hash) : NodeHash(hash, other);
    climb.UpPastHash();
  }
  if (climb.last == 0) return hash;
  return NotShown(fmt::format("entry {} is there: it is too short", index));
}

absl::Status VerifyInclusion(const TreeHash& leaf, uint64_t index, uint64_t size,
                             std::span<const TreeHash> proof, const TreeHash& root) {
  ASSIGN_OR_RETURN(const TreeHash shown, RootShownBy(leaf, index, size, proof));
  if (shown == root) return absl::OkStatus();
  return NotShown(fmt::format("entry {} is in the log of {} entries", index, size));
}

absl::Status VerifyConsistency(uint64_t old_size, const TreeHash& old_root, uint64_t size,
                               const TreeHash& root, std::span<const TreeHash> proof) {
  const absl::Status refused = NotShown(
      fmt::format("the log of {} entries begins with the {} known before", size, old_size));
  if (old_size == 0) {
    return proof.empty() && old_root == Frontier().Root() ? absl::OkStatus() : refused;
  }
  if (old_size > size) return refused;
  if (old_size == size) return proof.empty() && old_root == root ? absl::OkStatus() : refused;
  Climb climb{.number = old_size - 1, .last = size - 1};
  while ((climb.number & 1) != 0) climb.Up();
  const bool starts_with_old = std::has_single_bit(old_size);
  if (!starts_with_old && proof.empty()) return refused;
  TreeHash old_hash = starts_with_old ? old_root : proof.front();
  TreeHash hash = old_hash;
  for (const TreeHash& other : proof.subspan(starts_with_old ? 0 : 1)) {
    if (climb.last == 0) return refused;
    if (climb.HashIsLeft()) {
      old_hash = NodeHash(other, old_hash);
      hash = NodeHash(other, hash);
    } else {
      hash = NodeHash(hash, other);
    }
    climb.UpPastHash();
  }
  return climb.last == 0 && old_hash == old_root && hash == root ? absl::OkStatus() : refused;
}

}  // namespace corpgrid::audit
