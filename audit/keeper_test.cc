#include "audit/keeper.h"

#include <filesystem>
#include <fstream>

#include "audit/test_tree.h"
#include "base/testing/temp_folder.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace corpgrid::audit {
namespace {

using ::testing::HasSubstr;

constexpr char kOrigin[] = "corpgrid/0123";

class KeeperTest : public ::testing::Test {
 protected:
  std::string Signed(const TestTree& tree, uint64_t size) const {
    return SignedCheckpoint::Sign({.origin = kOrigin, .size = size, .root = tree.roots[size]}, key_)
        .Text();
  }
  Keeper Open() const { return Keeper::Open(folder_.path(), kOrigin).value(); }

  const corpgrid::testing::TempFolder folder_;
  const crypto::KeyPair key_ = crypto::KeyPair::Generate();
  const crypto::KeyPair other_key_ = crypto::KeyPair::Generate();
  const TestTree tree_ = TestTree::OfSize(20);
};

TEST_F(KeeperTest, RemembersOverARestart) {
  EXPECT_FALSE(Open().kept());
  ASSERT_TRUE(Open().Keep(Signed(tree_, 7), key_.public_key()).ok());
  const Keeper again = Open();
  ASSERT_TRUE(again.kept());
  EXPECT_EQ(again.kept()->size, 7u);
  EXPECT_EQ(again.kept()->root, tree_.roots[7]);
}

TEST_F(KeeperTest, TakesWhatGoesOn) {
  Keeper keeper = Open();
  ASSERT_TRUE(keeper.Keep(Signed(tree_, 7), key_.public_key()).ok());
  const auto newer = keeper.Check(Signed(tree_, 12), key_.public_key());
  ASSERT_TRUE(newer.ok()) << newer.status();
  EXPECT_TRUE(keeper.CheckExtends(*newer, *ProveConsistency(7, 12, tree_.Reader())).ok());
  ASSERT_TRUE(keeper.Keep(Signed(tree_, 12), key_.public_key()).ok());
  EXPECT_EQ(keeper.kept()->size, 12u);
}

TEST_F(KeeperTest, FindsACutTailThatIsSigned) {
  Keeper keeper = Open();
  ASSERT_TRUE(keeper.Keep(Signed(tree_, 7), key_.public_key()).ok());
  const absl::Status status = keeper.Keep(Signed(tree_, 6), key_.public_key());
  EXPECT_TRUE(absl::IsDataLoss(status));
  EXPECT_THAT(std::string(status.message()), HasSubstr("the log was cut"));
  EXPECT_EQ(keeper.kept()->size, 7u);
}

TEST_F(KeeperTest, FindsABeginningThatWasWrittenAnew) {
  Keeper keeper = Open();
  ASSERT_TRUE(keeper.Keep(Signed(tree_, 7), key_.public_key()).ok());
  TestTree forged;
  forged.Append("another one");
  for (int i = 1; i < 20; ++i) forged.Append(fmt::format("entry {}", i));
  const auto newer = keeper.Check(Signed(forged, 12), key_.public_key());
  ASSERT_TRUE(newer.ok()) << newer.status();
  const absl::Status status =
      keeper.CheckExtends(*newer, *ProveConsistency(7, 12, forged.Reader()));
  EXPECT_TRUE(absl::IsDataLoss(status));
  EXPECT_THAT(std::string(status.message()), HasSubstr("the log was changed"));
}

TEST_F(KeeperTest, WhatALogSaysOfItselfIsHeardBeforeAProofThatItLacks) {
  Keeper keeper = Open();
  ASSERT_TRUE(keeper.Keep(Signed(tree_, 7), key_.public_key()).ok());
  const auto message = [&](const Proof& proof) {
    return std::string(
        keeper.KeepProven(Signed(tree_, 12), key_.public_key(), proof, "a row is gone").message());
  };
  EXPECT_EQ(message({}), "a row is gone");
  EXPECT_EQ(keeper.kept()->size, 7u);
  EXPECT_THAT(message({tree_.roots[3]}), HasSubstr("the log was changed")) << "a wrong proof";
  EXPECT_EQ(message(*ProveConsistency(7, 12, tree_.Reader())), "a row is gone");
  EXPECT_EQ(keeper.kept()->size, 12u) << "what was proven is kept all the same";
}

TEST_F(KeeperTest, TrustsTheFirstKeyAlone) {
  Keeper keeper = Open();
  ASSERT_TRUE(keeper.Keep(Signed(tree_, 7), key_.public_key()).ok());
  const std::string forged =
      SignedCheckpoint::Sign({.origin = kOrigin, .size = 8, .root = tree_.roots[8]}, other_key_)
          .Text();
  EXPECT_THAT(std::string(keeper.Check(forged, other_key_.public_key()).status().message()),
              HasSubstr("but its key is"));
  EXPECT_TRUE(absl::IsDataLoss(keeper.Check(forged, key_.public_key()).status()));
}

TEST_F(KeeperTest, DamagedFilesAreNotTaken) {
  ASSERT_TRUE(Open().Keep(Signed(tree_, 7), key_.public_key()).ok());
  const std::string path = folder_ / "audit.checkpoint";
  std::ofstream(path) << Signed(tree_, 6).replace(14, 1, "9");
  EXPECT_TRUE(absl::IsDataLoss(Keeper::Open(folder_.path(), kOrigin).status()));
  std::ofstream(path) << "nothing";
  EXPECT_THAT(std::string(Keeper::Open(folder_.path(), kOrigin).status().message()),
              HasSubstr("audit.checkpoint cannot be used"));
  std::filesystem::remove(path);
  EXPECT_TRUE(Keeper::Open(folder_.path(), kOrigin).ok());
  std::ofstream(folder_ / "audit.pub") << "no key";
  EXPECT_TRUE(absl::IsDataLoss(Keeper::Open(folder_.path(), kOrigin).status()));
}

TEST_F(KeeperTest, ThereIsOneAFolder) {
  const Keeper keeper = Open();
  EXPECT_TRUE(absl::IsFailedPrecondition(Keeper::Open(folder_.path(), kOrigin).status()));
}

}  // namespace
}  // namespace corpgrid::audit
