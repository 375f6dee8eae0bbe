#include "rpc/connect.h"

#include <gtest/gtest.h>

namespace corpgrid::rpc {
namespace {

TEST(CheckLoopbackTest, TakesPortsThatThereAre) {
  for (const char* address : {"127.0.0.1:0", "[::1]:50051", "localhost:65535"}) {
    EXPECT_TRUE(CheckLoopback(address).ok()) << address;
  }
  for (const char* address : {"", "127.0.0.1", "127.0.0.1:", "127.0.0.1:x", "127.0.0.1:-1",
                              "127.0.0.1:65536", "127.0.0.1:4294967296", "127.0.0.1:99999999999"}) {
    EXPECT_TRUE(absl::IsInvalidArgument(CheckLoopback(address))) << address;
  }
  EXPECT_TRUE(absl::IsUnimplemented(CheckLoopback("192.0.2.1:50051")));
}

}  // namespace
}  // namespace corpgrid::rpc
