#include "core/bound.h"

#include "gtest/gtest.h"

namespace corpgrid::core {
namespace {

constexpr double kAlpha = 0.025;

TEST(BoundTest, NothingCheckedSaysNothingAndAllCheckedSaysAll) {
  EXPECT_EQ(MostWrong(0, 0, 100), 100u);
  EXPECT_EQ(MostWrong(kCertain, 3, 100), 3u);
}

// Computed with exact fractions.
TEST(BoundTest, WhatACoinMissesIsExact) {
  EXPECT_EQ(MostWrong(kCertain / 2, 5, 100, kAlpha), 27u);
  EXPECT_EQ(MostWrong(kCertain / 4, 0, 100, kAlpha), 15u);
  EXPECT_EQ(MostWrong(kCertain / 4 * 3, 2, 50, kAlpha), 8u);
  constexpr uint64_t kTwentieth = kCertain / 20;
  EXPECT_EQ(MostWrong(kTwentieth, 0, 1000, kAlpha), 85u);
  EXPECT_EQ(MostWrong(kTwentieth, 1, 1000, kAlpha), 149u);
  EXPECT_EQ(MostWrong(kTwentieth, 3, 50, kAlpha), 50u) << "no more than there are";
}

TEST(BoundTest, NumbersTooSmallForADoubleAreCompared) {
  // (1/2)^5000 is far below the smallest double, and the tail up to 2,400 is not.
  EXPECT_EQ(MostWrong(kCertain / 2, 2'400, 1'000'000, kAlpha), 5'216u);
}

TEST(BoundTest, TheChanceIsTheSmallestThatWillDo) {
  for (const uint64_t allowed : {1u, 2u, 5u, 100u, 10'000u}) {
    const uint64_t chance = ChanceFor(allowed);
    EXPECT_LE(MostWrong(chance, 0, 1'000'000), allowed);
    EXPECT_GT(MostWrong(chance - 1, 0, 1'000'000), allowed);
  }
  EXPECT_NEAR(static_cast<double>(ChanceFor(5, kAlpha)) / kCertain, 0.51826, 1e-5);
  EXPECT_EQ(ChanceFor(0), kCertain);
}

}  // namespace
}  // namespace corpgrid::core
