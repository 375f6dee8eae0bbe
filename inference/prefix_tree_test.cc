#include "inference/prefix_tree.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <random>

namespace corpgrid::inference {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::UnorderedElementsAre;
using Tokens = std::vector<Token>;

TEST(PrefixTreeTest, TextsThatBeginAlikeAreFoundByWhatTheyShare) {
  PrefixTree tree(3);
  tree.Append(0, Tokens{1, 2, 3, 4});
  tree.Append(1, Tokens{1, 2, 5});
  tree.Append(2, Tokens{1, 2});
  EXPECT_EQ(tree.Longest(Tokens{1, 2, 3, 9}), 3u);
  EXPECT_EQ(tree.Longest(Tokens{2, 1}), 0u);
  EXPECT_THAT(tree.TextsWith(Tokens{1}), UnorderedElementsAre(0, 1, 2));
  EXPECT_THAT(tree.TextsWith(Tokens{1, 2, 3}), ElementsAre(0));
  EXPECT_THAT(tree.TextsWith(Tokens{1, 2, 9}), IsEmpty());
  EXPECT_THAT(tree.TextsWithin(Tokens{1, 2, 3, 4, 5}), ElementsAre(2, 0));
}

TEST(PrefixTreeTest, ATextThatIsCutOrCopiedLeavesTheOthersAsTheyWere) {
  PrefixTree tree(3);
  tree.Append(0, Tokens{1, 2, 3, 4});
  tree.Copy(0, 1, 3);
  tree.Append(1, Tokens{7});
  tree.Cut(0, 1);
  EXPECT_THAT(tree.TextsWith(Tokens{1, 2, 3, 7}), ElementsAre(1));
  EXPECT_EQ(tree.Longest(Tokens{1, 2, 3, 4}), 3u);
  tree.Cut(1, 0);
  EXPECT_EQ(tree.Longest(Tokens{1, 2, 3, 4}), 1u);
  tree.Cut(0, 0);
  EXPECT_EQ(tree.Longest(Tokens{1}), 0u);
}

// The same questions to a tree and to a list of texts that are compared one by one.
TEST(PrefixTreeTest, AnswersLikeAComparisonWithEachText) {
  constexpr uint32_t kTexts = 6;
  std::mt19937 random(20261122);
  const auto below = [&](size_t n) { return static_cast<uint32_t>(random() % n); };
  PrefixTree tree(kTexts);
  std::vector<Tokens> texts(kTexts);
  const auto some = [&](size_t most) {
    Tokens tokens(below(most));
    for (Token& token : tokens) token = static_cast<Token>(below(3));
    return tokens;
  };
  for (int turn = 0; turn < 30'000; ++turn) {
    const uint32_t text = below(kTexts), other = below(kTexts);
    const uint32_t length = below(texts[text].size() + 1);
    if (turn % 3 == 0) {
      const Tokens more = some(5);
      tree.Append(text, more);
      texts[text].insert(texts[text].end(), more.begin(), more.end());
    } else if (turn % 3 == 1) {
      tree.Cut(text, length);
      texts[text].resize(length);
    } else if (texts[other].empty() && text != other) {
      tree.Copy(text, other, length);
      texts[other].assign(texts[text].begin(), texts[text].begin() + length);
    }
    const Tokens asked = some(9);
    size_t longest = 0;
    std::vector<uint32_t> with, within;
    for (uint32_t i = 0; i < kTexts; ++i) {
      ASSERT_EQ(tree.length(i), texts[i].size());
      const auto end = std::mismatch(texts[i].begin(), texts[i].end(), asked.begin(), asked.end());
      const auto common = static_cast<size_t>(end.first - texts[i].begin());
      longest = std::max(longest, common);
      if (common == asked.size() && !asked.empty()) with.push_back(i);
      if (common == texts[i].size() && common > 0) within.push_back(i);
    }
    ASSERT_EQ(tree.Longest(asked), longest) << turn;
    ASSERT_THAT(tree.TextsWith(asked), ::testing::UnorderedElementsAreArray(with)) << turn;
    ASSERT_THAT(tree.TextsWithin(asked), ::testing::UnorderedElementsAreArray(within)) << turn;
  }
}

}  // namespace
}  // namespace corpgrid::inference
