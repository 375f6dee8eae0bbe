#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "audit/tree.h"
#include "crypto/signature.h"

// One signature over many statements: making and checking one costs as much as all the rest of a
// short shard's way. The statements are the leaves of a tree (audit/tree.h) whose root is signed.
// Each can still be shown alone, by a signature of its own: the one over the root, then a byte for
// the leaf's index, one for the number of leaves less 1, and the leaf's proof. Any thread.
namespace corpgrid::audit {

inline constexpr size_t kMaxBatch = 256;                       // statements under one signature
inline constexpr size_t kMaxSignatureBytes = 64 + 2 + 8 * 32;  // of one that is shown alone

// Over these leaves (LeafHash of each statement), 1 to kMaxBatch of them.
std::string SignBatch(const crypto::KeyPair& key, std::span<const TreeHash> leaves);

// A batch whose signature is good.
class SignedBatch {
 public:
  // Errors: PermissionDenied when `signature` is not the key's over these leaves, InvalidArgument
  // when they are none or too many.
  static absl::StatusOr<SignedBatch> Check(const crypto::PublicKey& key,
                                           std::span<const TreeHash> leaves,
                                           std::string_view signature);

  // That of leaf `index` alone.
  std::string SignatureOf(size_t index) const;

 private:
  SignedBatch(std::vector<std::vector<TreeHash>> nodes, std::string_view signature)
      : nodes_(std::move(nodes)), signature_(signature) {}

  std::vector<std::vector<TreeHash>> nodes_;  // the complete ones, by level and number
  std::string signature_;
};

// OK when `signature` is the key's over `statement`, be it a plain one or of a batch. Errors:
// PermissionDenied.
absl::Status VerifyStatement(const crypto::PublicKey& key, std::string_view statement,
                             std::string_view signature);

}  // namespace corpgrid::audit
