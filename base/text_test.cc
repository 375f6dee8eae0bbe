#include "base/text.h"

#include "gtest/gtest.h"

namespace corpgrid {
namespace {

TEST(TextTest, BytesRoundTripThroughTheirUnits) {
  EXPECT_EQ(*ParseBytes("512MiB"), 512u << 20);
  EXPECT_EQ(*ParseBytes("1.5 GiB"), 3u << 29);
  EXPECT_EQ(*ParseBytes("2kb"), 2000u);
  EXPECT_EQ(*ParseBytes("17"), 17u);
  EXPECT_EQ(FormatBytes(512u << 20), "512 MiB");
  EXPECT_EQ(FormatBytes(1536), "1.5 KiB");
  EXPECT_EQ(*ParseBytes(FormatBytes(uint64_t{3} << 60)), uint64_t{3} << 60);
}

TEST(TextTest, BytesRefuseWhatIsNoSize) {
  for (const char* bad : {"", "MiB", "-1", "1.2.3GB", "5 potatoes", "1e30TB", "nan"}) {
    EXPECT_FALSE(ParseBytes(bad).ok()) << bad;
  }
}

TEST(TextTest, DurationsNeedAUnit) {
  EXPECT_EQ(*ParseDurationMs("10min"), 600000);
  EXPECT_EQ(*ParseDurationMs("1.5h"), 5400000);
  EXPECT_EQ(*ParseDurationMs("250ms"), 250);
  EXPECT_FALSE(ParseDurationMs("10").ok());
}

TEST(TextTest, NearestFindsTyposOnly) {
  EXPECT_EQ(Nearest("shrads", {"shards", "name"}), "shards");
  EXPECT_EQ(Nearest("jbo", {"job", "up"}), "job");
  EXPECT_EQ(Nearest("rum", {"run"}), "run");
  EXPECT_EQ(Nearest("nur", {"run"}), "");
  EXPECT_EQ(Nearest("zebra", {"shards", "name"}), "");
}

}  // namespace
}  // namespace corpgrid
