#include "inference/kv_cache.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "inference/test_decoder.h"

namespace corpgrid::inference {
namespace {

std::vector<Token> Tokens(Token first, size_t count) {
  std::vector<Token> tokens;
  for (size_t i = 0; i < count; ++i) tokens.push_back((first + static_cast<Token>(i)) % 40);
  return tokens;
}

class KvCacheTest : public ::testing::Test {
 protected:
  void Start(KvShape::Layout layout, uint32_t slots, uint32_t cells) {
    decoder_ = std::make_unique<TestDecoder>(KvShape{layout, slots, cells, cells, true});
    cache_ = std::make_unique<KvCache>(decoder_.get());
  }

  // Computes all of `tokens` in a slot of their own; returns what was reused.
  KvCache::Taken Compute(const std::vector<Token>& tokens) {
    const auto taken = cache_->Take(tokens);
    EXPECT_TRUE(taken);
    std::vector<Row> rows;
    for (uint32_t i = taken->reused; i < tokens.size(); ++i) {
      rows.push_back({tokens[i], i, taken->slot, false});
    }
    EXPECT_TRUE(decoder_->Decode(rows).ok());
    cache_->Append(taken->slot, std::span(tokens).subspan(taken->reused));
    return *taken;
  }

  std::unique_ptr<TestDecoder> decoder_;
  std::unique_ptr<KvCache> cache_;
};

TEST_F(KvCacheTest, ASlotInUseIsCopiedAndAnIdleOneIsGoneOnWith) {
  Start(KvShape::Layout::kStreams, 3, 300);
  const auto tokens = Tokens(1, 50);
  const auto first = Compute(tokens);
  const auto copy = Compute(tokens);
  EXPECT_EQ(copy.reused, 49u);  // the last token's logits are wanted
  EXPECT_NE(copy.slot, first.slot);
  EXPECT_EQ(decoder_->copies, 1u);
  cache_->Release(first.slot);
  cache_->Release(copy.slot);
  const auto again = Compute(tokens);
  EXPECT_EQ(again.reused, 49u);
  EXPECT_EQ(decoder_->copies, 1u);
}

TEST_F(KvCacheTest, AnIdleSlotThatHasMoreIsKeptWhileThereIsRoomBesideIt) {
  Start(KvShape::Layout::kStreams, 2, 400);
  std::vector<Token> longer = Tokens(1, 60), other = longer;
  const auto more = Tokens(30, 60), others = Tokens(9, 60);
  longer.insert(longer.end(), more.begin(), more.end());
  other.insert(other.end(), others.begin(), others.end());
  cache_->Release(Compute(longer).slot);
  cache_->Release(Compute(other).slot);
  EXPECT_EQ(decoder_->copies, 1u);
  EXPECT_EQ(cache_->Reusable(longer), 119u);
  EXPECT_EQ(cache_->Reusable(other), 119u);
}

TEST_F(KvCacheTest, TheSlotThatWasOfUseLongestAgoGoesFirst) {
  Start(KvShape::Layout::kStreams, 3, 300);
  const auto a = Tokens(1, 50), b = Tokens(11, 50), c = Tokens(21, 50), d = Tokens(31, 50);
  for (const auto& tokens : {a, b, c}) cache_->Release(Compute(tokens).slot);
  cache_->Release(Compute(a).slot);  // of use again
  cache_->Release(Compute(d).slot);
  EXPECT_EQ(cache_->Reusable(a), 49u);
  EXPECT_EQ(cache_->Reusable(b), 0u);
  EXPECT_EQ(cache_->Reusable(c), 49u);
}

TEST_F(KvCacheTest, SlotsInUseStayNeighbours) {
  Start(KvShape::Layout::kStreams, 6, 600);
  for (Token first = 0; first < 6; ++first) cache_->Release(Compute(Tokens(first * 6, 30)).slot);
  std::vector<uint32_t> used;
  for (Token first = 0; first < 3; ++first) used.push_back(Compute(Tokens(40 - first, 9)).slot);
  EXPECT_THAT(used, ::testing::ElementsAre(0, 1, 2));
  cache_->Release(used[1]);
  EXPECT_EQ(Compute(Tokens(33, 9)).slot, used[1]);  // though others wait longer for their end
  EXPECT_EQ(Compute(Tokens(32, 9)).slot, 3u);
}

TEST_F(KvCacheTest, NothingIsTakenWhileEverySlotIsInUse) {
  Start(KvShape::Layout::kStreams, 1, 100);
  const auto slot = Compute(Tokens(1, 5)).slot;
  EXPECT_FALSE(cache_->Take(Tokens(1, 5)));
  cache_->Release(slot);
  EXPECT_TRUE(cache_->Take(Tokens(1, 5)));
}

TEST_F(KvCacheTest, ASharedPoolCountsWhatIsSharedOnce) {
  Start(KvShape::Layout::kShared, 4, 200);
  const auto tokens = Tokens(1, 60);
  const auto first = Compute(tokens);
  EXPECT_EQ(cache_->used_cells(), 60u);
  const auto second = Compute(tokens);
  EXPECT_EQ(cache_->used_cells(), 61u);
  cache_->Release(first.slot);
  EXPECT_EQ(cache_->RoomWithoutReuse(), 200u - 60u);  // the second needs 59 of these, and its own
  EXPECT_TRUE(cache_->Evict());
  EXPECT_EQ(cache_->used_cells(), 60u);
  EXPECT_FALSE(cache_->Evict());
  cache_->Clear(second.slot);
  EXPECT_EQ(cache_->used_cells(), 0u);
  EXPECT_EQ(cache_->RoomInSlot(second.slot), 200u);
}

TEST_F(KvCacheTest, StreamsHaveRoomOfTheirOwn) {
  Start(KvShape::Layout::kStreams, 2, 200);
  const auto first = Compute(Tokens(1, 60));
  EXPECT_EQ(cache_->RoomInSlot(first.slot), 40u);
  EXPECT_EQ(cache_->RoomInAll(), 140u);
  cache_->Release(first.slot);
  EXPECT_EQ(cache_->RoomWithoutReuse(), 200u);
}

}  // namespace
}  // namespace corpgrid::inference
