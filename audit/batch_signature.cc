#include "audit/batch_signature.h"

#include <algorithm>
#include <cstdlib>

#include "audit/proof.h"
#include "base/status_macros.h"
#include "crypto/encoding.h"
#include "fmt/format.h"

namespace corpgrid::audit {
namespace {

constexpr size_t kSignatureBytes = 64;
constexpr size_t kHeadBytes = kSignatureBytes + 2;
constexpr size_t kHashBytes = sizeof TreeHash::bytes;

std::string RootStatement(uint64_t size, const TreeHash& root) {
  return crypto::Encoder("corpgrid batch", 1).Add(size).Add(root.Raw()).bytes();
}

struct Tree {
  explicit Tree(std::span<const TreeHash> leaves) {
    Frontier frontier;
    for (const TreeHash& leaf : leaves) {
      const std::vector<TreeHash> completed = frontier.Append(leaf);
      if (nodes.size() < completed.size()) nodes.resize(completed.size());
      for (size_t level = 0; level < completed.size(); ++level) {
        nodes[level].push_back(completed[level]);
      }
    }
    root = frontier.Root();
  }

  std::vector<std::vector<TreeHash>> nodes;
  TreeHash root;
};

absl::Status NotOfBatch() {
  return absl::PermissionDeniedError("this is no signature over a statement, alone or in a batch");
}

}  // namespace

std::string SignBatch(const crypto::KeyPair& key, std::span<const TreeHash> leaves) {
  if (leaves.empty() || leaves.size() > kMaxBatch) std::abort();
  return key.Sign(RootStatement(leaves.size(), Tree(leaves).root));
}

absl::StatusOr<SignedBatch> SignedBatch::Check(const crypto::PublicKey& key,
                                               std::span<const TreeHash> leaves,
                                               std::string_view signature) {
  if (leaves.empty() || leaves.size() > kMaxBatch) {
    return absl::InvalidArgumentError(
        fmt::format("a signature over {} statements, expected 1 to {}", leaves.size(), kMaxBatch));
  }
  Tree tree(leaves);
  RETURN_IF_ERROR(crypto::Verify(key, RootStatement(leaves.size(), tree.root), signature));
  return SignedBatch(std::move(tree.nodes), signature);
}

std::string SignedBatch::SignatureOf(size_t index) const {
  const size_t size = nodes_[0].size();
  const absl::StatusOr<Proof> proof =
      ProveInclusion(index, size, [this](int level, uint64_t number) -> absl::StatusOr<TreeHash> {
        return nodes_[static_cast<size_t>(level)][number];
      });
  if (!proof.ok()) std::abort();  // no such leaf
  std::string own;
  own.reserve(kHeadBytes + proof->size() * kHashBytes);
  own += signature_;
  own += static_cast<char>(index);
  own += static_cast<char>(size - 1);
  for (const TreeHash& hash : *proof) own += hash.Raw();
  return own;
}

absl::Status VerifyStatement(const crypto::PublicKey& key, std::string_view statement,
                             std::string_view signature) {
  if (signature.size() == kSignatureBytes) return crypto::Verify(key, statement, signature);
  if (signature.size() < kHeadBytes || (signature.size() - kHeadBytes) % kHashBytes != 0) {
    return NotOfBatch();
  }
  const auto index = static_cast<uint8_t>(signature[kSignatureBytes]);
  const auto last = static_cast<uint8_t>(signature[kSignatureBytes + 1]);
  Proof proof;
  for (size_t at = kHeadBytes; at < signature.size(); at += kHashBytes) {
    ASSIGN_OR_RETURN(const TreeHash hash, TreeHash::FromRaw(signature.substr(at, kHashBytes)));
    proof.push_back(hash);
  }
  const auto root = RootShownBy(LeafHash(statement), index, uint64_t{last} + 1, proof);
  if (!root.ok()) return NotOfBatch();
  return crypto::Verify(key, RootStatement(uint64_t{last} + 1, *root),
                        signature.substr(0, kSignatureBytes));
}

}  // namespace corpgrid::audit
