#include "audit/batch_signature.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "fmt/format.h"

namespace corpgrid::audit {
namespace {

std::string Statement(size_t index) { return fmt::format("statement {}", index); }

std::vector<TreeHash> Leaves(size_t count) {
  std::vector<TreeHash> leaves;
  for (size_t i = 0; i < count; ++i) leaves.push_back(LeafHash(Statement(i)));
  return leaves;
}

class BatchSignatureTest : public ::testing::Test {
 protected:
  SignedBatch Batch(size_t count) const {
    return SignedBatch::Check(key_.public_key(), Leaves(count), SignBatch(key_, Leaves(count)))
        .value();
  }
  bool Shows(const std::string& statement, const std::string& signature) const {
    return VerifyStatement(key_.public_key(), statement, signature).ok();
  }

  const crypto::KeyPair key_ = crypto::KeyPair::Generate();
};

TEST_F(BatchSignatureTest, EachStatementCanBeShownAlone) {
  for (const size_t count : {1u, 2u, 3u, 7u, 64u, 65u, 255u, 256u}) {
    const SignedBatch batch = Batch(count);
    for (size_t i = 0; i < count; ++i) {
      const std::string own = batch.SignatureOf(i);
      EXPECT_LE(own.size(), kMaxSignatureBytes);
      EXPECT_TRUE(Shows(Statement(i), own)) << i << " of " << count;
      EXPECT_FALSE(Shows(Statement(i + 1), own)) << i << " of " << count;
    }
  }
}

TEST_F(BatchSignatureTest, APlainSignatureIsOneToo) {
  EXPECT_TRUE(Shows("alone", key_.Sign("alone")));
  EXPECT_FALSE(Shows("other", key_.Sign("alone")));
}

TEST_F(BatchSignatureTest, NothingButTheseLeavesInThisOrderIsSigned) {
  const std::string signature = SignBatch(key_, Leaves(5));
  const auto accepts = [&](const std::vector<TreeHash>& leaves) {
    return SignedBatch::Check(key_.public_key(), leaves, signature).ok();
  };
  EXPECT_TRUE(accepts(Leaves(5)));
  EXPECT_FALSE(accepts(Leaves(4)));
  EXPECT_FALSE(accepts(Leaves(6)));
  std::vector<TreeHash> swapped = Leaves(5);
  std::swap(swapped[0], swapped[1]);
  EXPECT_FALSE(accepts(swapped));
  const auto other = crypto::KeyPair::Generate();
  EXPECT_FALSE(SignedBatch::Check(other.public_key(), Leaves(5), signature).ok());
}

TEST_F(BatchSignatureTest, NoBitOfASignatureCanBeChanged) {
  const std::string own = Batch(7).SignatureOf(6);
  ASSERT_TRUE(Shows(Statement(6), own));
  for (size_t at = 0; at < own.size(); ++at) {
    std::string changed = own;
    changed[at] = static_cast<char>(changed[at] ^ 1);
    EXPECT_FALSE(Shows(Statement(6), changed)) << at;
  }
  for (size_t size = 0; size < own.size(); ++size) {
    EXPECT_FALSE(Shows(Statement(6), own.substr(0, size))) << size;
  }
  EXPECT_FALSE(Shows(Statement(6), own + std::string(32, '\0')));
}

// Else a device could be shown to have signed a "result" that is a node of its tree.
TEST_F(BatchSignatureTest, ANodeIsNoStatement) {
  const std::vector<TreeHash> leaves = Leaves(2);
  const std::string node = std::string(leaves[0].Raw()) + std::string(leaves[1].Raw());
  const std::string signature = SignBatch(key_, leaves);
  EXPECT_FALSE(Shows(node, signature));
  EXPECT_FALSE(Shows(node, signature + std::string(2, '\0')));
}

TEST_F(BatchSignatureTest, TheSizeIsBounded) {
  const auto check = [&](size_t count) {
    return SignedBatch::Check(key_.public_key(), Leaves(count), std::string(64, 'x')).status();
  };
  EXPECT_TRUE(absl::IsInvalidArgument(check(0)));
  EXPECT_TRUE(absl::IsInvalidArgument(check(kMaxBatch + 1)));
  EXPECT_TRUE(absl::IsPermissionDenied(check(kMaxBatch)));
}

}  // namespace
}  // namespace corpgrid::audit
