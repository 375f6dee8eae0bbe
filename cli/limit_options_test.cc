#include "cli/limit_options.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace corpgrid::cli {
namespace {

TEST(LimitOptionsTest, WhoLendTogetherLendWhatOneWould) {
  LimitArguments arguments{.preset = "conservative", .one_of = 3};
  EXPECT_EQ(arguments.Parse()->memory_percent, 13u);
  EXPECT_DOUBLE_EQ(arguments.Parse()->requests_per_second, 4.0 / 3);
  arguments.one_of = 1000;
  EXPECT_EQ(arguments.Parse()->memory_percent, 1u);
  arguments = {.preset = "dedicated", .requests_per_second = "10", .one_of = 4};
  EXPECT_DOUBLE_EQ(arguments.Parse()->requests_per_second, 2.5);
  arguments.requests_per_second = "0";  // no limit, for all
  EXPECT_EQ(arguments.Parse()->requests_per_second, 0);
}

TEST(LimitOptionsTest, ARateIsANumber) {
  for (const char* rate : {"-1", "nan", "1e7", "many", " "}) {
    const LimitArguments arguments{.preset = "balanced", .requests_per_second = rate};
    EXPECT_THAT(arguments.Parse().status().message(), ::testing::HasSubstr(rate));
  }
}

}  // namespace
}  // namespace corpgrid::cli
