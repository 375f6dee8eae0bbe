#include "audit/tree.h"

#include "audit/test_tree.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace corpgrid::audit {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

// The tree that the implementations of Certificate Transparency test themselves with.
const std::vector<std::string> kReferenceLeaves = {
    "",
    std::string(1, '\0'),
    "\x10",
    "\x20\x21",
    "\x30\x31",
    "\x40\x41\x42\x43",
    "\x50\x51\x52\x53\x54\x55\x56\x57",
    "\x60\x61\x62\x63\x64\x65\x66\x67\x68\x69\x6a\x6b\x6c\x6d\x6e\x6f"};
constexpr const char* kReferenceRoots[] = {
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328"};

std::vector<std::string> Hex(const std::vector<TreeHash>& hashes) {
  std::vector<std::string> texts;
  for (const TreeHash& hash : hashes) texts.push_back(hash.Hex());
  return texts;
}

TestTree Reference() {
  TestTree tree;
  for (const std::string& leaf : kReferenceLeaves) tree.Append(leaf);
  return tree;
}

TEST(TreeTest, HasTheReferenceRoots) {
  const TestTree tree = Reference();
  for (size_t size = 0; size <= 8; ++size) {
    EXPECT_EQ(tree.roots[size].Hex(), kReferenceRoots[size]) << size;
  }
}

TEST(TreeTest, GivesTheReferenceProofs) {
  const TestTree tree = Reference();
  const ReadNode read = tree.Reader();
  EXPECT_THAT(Hex(*ProveInclusion(0, 1, read)), ElementsAre());
  EXPECT_THAT(Hex(*ProveInclusion(0, 8, read)),
              ElementsAre("96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
                          "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
                          "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4"));
  EXPECT_THAT(Hex(*ProveInclusion(5, 8, read)),
              ElementsAre("bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
                          "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
                          "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7"));
  EXPECT_THAT(Hex(*ProveInclusion(2, 3, read)),
              ElementsAre("fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125"));
  EXPECT_THAT(Hex(*ProveInclusion(1, 5, read)),
              ElementsAre("6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
                          "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
                          "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b"));
  EXPECT_THAT(Hex(*ProveConsistency(1, 1, read)), ElementsAre());
  EXPECT_THAT(Hex(*ProveConsistency(1, 8, read)),
              ElementsAre("96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
                          "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
                          "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4"));
  EXPECT_THAT(Hex(*ProveConsistency(6, 8, read)),
              ElementsAre("0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a",
                          "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
                          "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7"));
  EXPECT_THAT(Hex(*ProveConsistency(2, 5, read)),
              ElementsAre("5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
                          "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b"));
  EXPECT_THAT(Hex(*ProveConsistency(6, 7, read)),
              ElementsAre("0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a",
                          "b08693ec2e721597130641e8211e7eedccb4c26413963eee6c1e2ed16ffb1a5f",
                          "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7"));
}

TEST(FrontierTest, GoesOnFromWhatWasStored) {
  const TestTree tree = TestTree::OfSize(64);
  for (uint64_t size = 0; size < 64; ++size) {
    const Frontier before = TestTree::OfSize(size).frontier;
    auto loaded = Frontier::Load(size, before.Raw());
    ASSERT_TRUE(loaded.ok()) << loaded.status();
    EXPECT_EQ(loaded->Root(), tree.roots[size]);
    const auto completed = loaded->Append(tree.leaves[size]);
    EXPECT_EQ(completed.size(), static_cast<size_t>(CompletedBy(size)));
    EXPECT_EQ(completed, tree.nodes[size]);
    EXPECT_EQ(loaded->Root(), tree.roots[size + 1]);
  }
}

TEST(FrontierTest, RefusesAnotherSizesBytes) {
  const std::string raw = TestTree::OfSize(6).frontier.Raw();
  for (const uint64_t size : {0, 1, 7, 8}) {
    const auto loaded = Frontier::Load(size, raw);
    EXPECT_TRUE(absl::IsDataLoss(loaded.status())) << size;
  }
  EXPECT_THAT(std::string(Frontier::Load(7, raw).status().message()), HasSubstr("7 entries"));
}

}  // namespace
}  // namespace corpgrid::audit
