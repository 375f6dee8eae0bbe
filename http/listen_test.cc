#include "http/listen.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace corpgrid::http {
namespace {

using ::testing::HasSubstr;

TEST(ListenTest, ReadsAddressAndPort) {
  const auto v4 = ParseListen("--listen", "127.0.0.1:65535");
  ASSERT_TRUE(v4.ok()) << v4.status();
  EXPECT_EQ(v4->address, "127.0.0.1");
  EXPECT_EQ(v4->port, 65535);
  const auto v6 = ParseListen("--listen", "[::1]:0");
  ASSERT_TRUE(v6.ok()) << v6.status();
  EXPECT_EQ(v6->address, "::1");
  EXPECT_EQ(v6->port, 0);
}

TEST(ListenTest, RefusesPortsThatThereAreNot) {
  for (const char* text : {"127.0.0.1:65536", "127.0.0.1:99999", "[::1]:18446744073709551616"}) {
    const absl::Status status = ParseListen("--listen", text).status();
    EXPECT_TRUE(absl::IsInvalidArgument(status)) << text;
    EXPECT_THAT(std::string(status.message()), HasSubstr("--listen is"));
    EXPECT_THAT(std::string(status.message()), HasSubstr("from 0 to 65535"));
  }
  for (const char* text : {"", "8000", "127.0.0.1", "127.0.0.1:", "127.0.0.1:-1", "127.0.0.1:80x",
                           "127.0.0.1: 80", "127.0.0.1:+80"}) {
    EXPECT_TRUE(absl::IsInvalidArgument(ParseListen("--listen", text).status())) << text;
  }
}

}  // namespace
}  // namespace corpgrid::http
