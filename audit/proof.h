#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "audit/tree.h"

// Proofs about a tree for somebody who knows its root alone: RFC 6962, sections 2.1.1 and 2.1.2.
namespace corpgrid::audit {

// Where proofs get the tree from: the root over the leaves from `index << level` on, `1 << level`
// of them, all of which are there. Leaf LastLeafOf(level, index) completed it.
using ReadNode = std::function<absl::StatusOr<TreeHash>(int level, uint64_t index)>;

inline uint64_t LastLeafOf(int level, uint64_t index) { return ((index + 1) << level) - 1; }

using Proof = std::vector<TreeHash>;

// That leaf `index` is in the tree of the first `size` leaves. Reads O(log size) nodes. Errors:
// OutOfRange when it is not; those of `read`.
absl::StatusOr<Proof> ProveInclusion(uint64_t index, uint64_t size, const ReadNode& read);

// That the tree of the first `old_size` leaves is the beginning of the one of `size`. Errors:
// OutOfRange when `old_size` is larger; those of `read`.
absl::StatusOr<Proof> ProveConsistency(uint64_t old_size, uint64_t size, const ReadNode& read);

// The root of the tree of `size` leaves in which `proof` shows `leaf`. Errors: DataLoss for what is
// no proof of leaf `index`.
absl::StatusOr<TreeHash> RootShownBy(const TreeHash& leaf, uint64_t index, uint64_t size,
                                     std::span<const TreeHash> proof);

// OK, or DataLoss when the proof does not show it. `size` says how to read the proof; that it is
// the root's is for whoever signed both.
absl::Status VerifyInclusion(const TreeHash& leaf, uint64_t index, uint64_t size,
                             std::span<const TreeHash> proof, const TreeHash& root);
absl::Status VerifyConsistency(uint64_t old_size, const TreeHash& old_root, uint64_t size,
                               const TreeHash& root, std::span<const TreeHash> proof);

}  // namespace corpgrid::audit
