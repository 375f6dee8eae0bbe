#include "base/backoff.h"

#include <gtest/gtest.h>

namespace corpgrid {
namespace {

TEST(BackoffTest, GrowsWithinItsBoundsAndStartsAnew) {
  Backoff backoff(1);
  EXPECT_LE(backoff.NextMs(), 2 * Backoff::kMinMs);
  for (int i = 1; i < 100; ++i) {
    const int64_t ms = backoff.NextMs();
    EXPECT_GE(ms, Backoff::kMinMs);
    EXPECT_LE(ms, Backoff::kMaxMs);
    if (i > 10) {
      EXPECT_GE(ms, Backoff::kMaxMs / 2);
    }
  }
  backoff.Reset();
  EXPECT_LE(backoff.NextMs(), 2 * Backoff::kMinMs);
}

}  // namespace
}  // namespace corpgrid
