#include "worker/gpus.h"

#include <gtest/gtest.h>

namespace corpgrid::worker {
namespace {

uint64_t FreeOf(uint64_t total_bytes, uint64_t free_bytes, uint32_t percent) {
  return Offer({.name = "Vulkan0",
                .backend = "vulkan",
                .description = "",
                .total_bytes = total_bytes,
                .free_bytes = free_bytes},
               percent)
      .free_bytes();
}

TEST(GpusTest, WhatOthersUseIsOfTheOwnersShare) {
  EXPECT_EQ(FreeOf(1000, 1000, 50), 500u);
  EXPECT_EQ(FreeOf(1000, 900, 50), 400u);
  EXPECT_EQ(FreeOf(1000, 400, 50), 0u);
  EXPECT_EQ(FreeOf(1000, 400, 100), 400u);
  EXPECT_EQ(FreeOf(0, 0, 100), 0u);
  EXPECT_EQ(FreeOf(1000, 2000, 50), 500u) << "a driver that says nonsense";
  EXPECT_EQ(FreeOf(UINT64_MAX, UINT64_MAX, 100), UINT64_MAX);
}

}  // namespace
}  // namespace corpgrid::worker
