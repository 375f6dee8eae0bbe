#include "audit/tree.h"

#include <algorithm>
#include <bit>

#include "crypto/hex.h"
#include "fmt/format.h"
#include "sodium.h"

namespace corpgrid::audit {
namespace {

// RFC 6962's domain separation: no leaf is a node.
constexpr std::string_view kLeaf("\x00", 1);
constexpr std::string_view kNode("\x01", 1);

template <typename... Parts>
TreeHash HashOf(Parts... parts) {
  crypto_hash_sha256_state state;
  crypto_hash_sha256_init(&state);
  (crypto_hash_sha256_update(&state, reinterpret_cast<const unsigned char*>(parts.data()),
                             parts.size()),
   ...);
  TreeHash hash;
  static_assert(sizeof hash.bytes == crypto_hash_sha256_BYTES);
  crypto_hash_sha256_final(&state, hash.bytes.data());
  return hash;
}

}  // namespace

std::string_view TreeHash::Raw() const {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

std::string TreeHash::Hex() const { return crypto::ToHex(Raw()); }

absl::StatusOr<TreeHash> TreeHash::FromRaw(std::string_view raw) {
  TreeHash hash;
  if (raw.size() != hash.bytes.size()) {
    return absl::InvalidArgumentError(
        fmt::format("expected a tree's hash of 32 bytes, got {} bytes", raw.size()));
  }
  std::copy(raw.begin(), raw.end(), hash.bytes.begin());
  return hash;
}

TreeHash LeafHash(std::string_view entry) { return HashOf(kLeaf, entry); }

TreeHash NodeHash(const TreeHash& left, const TreeHash& right) {
  return HashOf(kNode, left.Raw(), right.Raw());
}

TreeHash Sha256(std::string_view bytes) { return HashOf(bytes); }

absl::StatusOr<Frontier> Frontier::Load(uint64_t size, std::string_view raw) {
  constexpr size_t kHashBytes = sizeof TreeHash::bytes;
  const size_t expected = static_cast<size_t>(std::popcount(size)) * kHashBytes;
  if (raw.size() != expected) {
    return absl::DataLossError(
        fmt::format("the audit log of {} entries has a frontier of {} bytes, not {}: the store was "
                    "changed or damaged; restore it from a backup",
                    size, raw.size(), expected));
  }
  Frontier frontier;
  frontier.size_ = size;
  for (size_t at = 0; at < raw.size(); at += kHashBytes) {
    TreeHash& hash = frontier.subtrees_.emplace_back();
    std::copy_n(raw.begin() + static_cast<std::ptrdiff_t>(at), kHashBytes, hash.bytes.begin());
  }
  return frontier;
}

std::vector<TreeHash> Frontier::Append(const TreeHash& leaf) {
  std::vector<TreeHash> completed = {leaf};
  for (int i = CompletedBy(size_); i > 1; --i) {
    completed.push_back(NodeHash(subtrees_.back(), completed.back()));
    subtrees_.pop_back();
  }
  subtrees_.push_back(completed.back());
  ++size_;
  return completed;
}

TreeHash Frontier::Root() const {
  if (subtrees_.empty()) return Sha256("");
  TreeHash root = subtrees_.back();
  for (auto it = std::next(subtrees_.rbegin()); it != subtrees_.rend(); ++it) {
    root = NodeHash(*it, root);
  }
  return root;
}

std::string Frontier::Raw() const {
  std::string raw;
  raw.reserve(subtrees_.size() * sizeof TreeHash::bytes);
  for (const TreeHash& hash : subtrees_) raw += hash.Raw();
  return raw;
}

int CompletedBy(uint64_t index) { return std::countr_one(index) + 1; }

}  // namespace corpgrid::audit
