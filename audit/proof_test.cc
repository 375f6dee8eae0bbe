#include "audit/proof.h"

#include "audit/test_tree.h"
#include "gtest/gtest.h"

namespace corpgrid::audit {
namespace {

constexpr uint64_t kMaxSize = 64;

// Calls `use` with every proof that differs from `proof` in one hash: each of its bytes has one bit
// changed, a hash is missing, or one is too many.
template <typename Use>
void ForEachDamage(const Proof& proof, const Use& use) {
  for (size_t i = 0; i < proof.size(); ++i) {
    for (size_t byte = 0; byte < sizeof TreeHash::bytes; ++byte) {
      Proof damaged = proof;
      damaged[i].bytes[byte] ^= static_cast<uint8_t>(1u << (i + byte) % 8);
      use(damaged);
    }
    Proof shorter = proof;
    shorter.erase(shorter.begin() + static_cast<std::ptrdiff_t>(i));
    use(shorter);
    Proof longer = proof;
    longer.insert(longer.begin() + static_cast<std::ptrdiff_t>(i), proof[i]);
    use(longer);
  }
  Proof longer = proof;
  longer.push_back(TreeHash{});
  use(longer);
}

TreeHash Flipped(TreeHash hash) {
  hash.bytes[31] ^= 1;
  return hash;
}

TEST(ProofTest, EveryEntryOfEverySizeIsProven) {
  const TestTree tree = TestTree::OfSize(kMaxSize);
  for (uint64_t size = 1; size <= kMaxSize; ++size) {
    for (uint64_t index = 0; index < size; ++index) {
      const auto proof = ProveInclusion(index, size, tree.Reader());
      ASSERT_TRUE(proof.ok()) << proof.status();
      const TreeHash& leaf = tree.leaves[index];
      const TreeHash& root = tree.roots[size];
      ASSERT_TRUE(VerifyInclusion(leaf, index, size, *proof, root).ok()) << index << " " << size;
      ASSERT_FALSE(VerifyInclusion(Flipped(leaf), index, size, *proof, root).ok());
      ASSERT_FALSE(VerifyInclusion(leaf, index, size, *proof, Flipped(root)).ok());
      for (uint64_t other = 0; other <= size; ++other) {
        if (other == index) continue;
        ASSERT_FALSE(VerifyInclusion(leaf, other, size, *proof, root).ok())
            << index << " of " << size << " passes for " << other;
      }
      for (uint64_t other = 0; other <= kMaxSize; ++other) {
        if (other == size) continue;
        ASSERT_FALSE(VerifyInclusion(leaf, index, other, *proof, tree.roots[other]).ok())
            << index << " of " << size << " passes for a log of " << other;
      }
      ForEachDamage(*proof, [&](const Proof& damaged) {
        ASSERT_FALSE(VerifyInclusion(leaf, index, size, damaged, root).ok());
      });
    }
  }
}

TEST(ProofTest, EverySizeIsTheBeginningOfEveryLargerOne) {
  const TestTree tree = TestTree::OfSize(kMaxSize);
  for (uint64_t size = 0; size <= kMaxSize; ++size) {
    for (uint64_t old_size = 0; old_size <= size; ++old_size) {
      const auto proof = ProveConsistency(old_size, size, tree.Reader());
      ASSERT_TRUE(proof.ok()) << proof.status();
      const TreeHash& old_root = tree.roots[old_size];
      const TreeHash& root = tree.roots[size];
      ASSERT_TRUE(VerifyConsistency(old_size, old_root, size, root, *proof).ok())
          << old_size << " " << size;
      ASSERT_FALSE(VerifyConsistency(old_size, Flipped(old_root), size, root, *proof).ok());
      ForEachDamage(*proof, [&](const Proof& damaged) {
        ASSERT_FALSE(VerifyConsistency(old_size, old_root, size, root, damaged).ok());
      });
      if (old_size == 0) continue;  // any log goes on from none
      ASSERT_FALSE(VerifyConsistency(old_size, old_root, size, Flipped(root), *proof).ok());
      for (uint64_t other = 1; other <= kMaxSize; ++other) {
        if (other != size) {
          ASSERT_FALSE(
              VerifyConsistency(old_size, old_root, other, tree.roots[other], *proof).ok());
        }
        if (other != old_size) {
          ASSERT_FALSE(VerifyConsistency(other, tree.roots[other], size, root, *proof).ok());
        }
      }
    }
  }
}

TEST(ProofTest, NothingIsProvenBeyondTheEnd) {
  const TestTree tree = TestTree::OfSize(5);
  EXPECT_TRUE(absl::IsOutOfRange(ProveInclusion(5, 5, tree.Reader()).status()));
  EXPECT_TRUE(absl::IsOutOfRange(ProveInclusion(0, 0, tree.Reader()).status()));
  EXPECT_TRUE(absl::IsOutOfRange(ProveConsistency(6, 5, tree.Reader()).status()));
  EXPECT_FALSE(VerifyConsistency(6, tree.roots[5], 5, tree.roots[5], {}).ok());
  EXPECT_FALSE(VerifyInclusion(tree.leaves[0], 0, 0, {}, tree.roots[0]).ok());
}

TEST(ProofTest, AnErrorOfTheReaderIsTheProofs) {
  const auto broken = [](int, uint64_t) -> absl::StatusOr<TreeHash> {
    return absl::DataLossError("a row is missing");
  };
  EXPECT_TRUE(absl::IsDataLoss(ProveInclusion(1, 7, broken).status()));
  EXPECT_TRUE(absl::IsDataLoss(ProveConsistency(3, 7, broken).status()));
}

}  // namespace
}  // namespace corpgrid::audit
