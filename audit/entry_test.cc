#include "audit/entry.h"

#include "gtest/gtest.h"
#include "nlohmann/json.hpp"

namespace corpgrid::audit {
namespace {

TEST(EntryTest, IsOneLineOfJsonInOrder) {
  Entry entry("job ended", 17, 1'700'000'000'000);
  entry.Add("job", 3).Add("state", "failed");
  EXPECT_EQ(
      entry.ToJson(),
      R"({"event":"job ended","wall_ms":1700000000000,"time_ms":17,"job":3,"state":"failed"})");
}

TEST(EntryTest, WhateverADeviceSaysStaysSmallJson) {
  Entry entry("device registered", 1, 2);
  entry.Add("name", std::string("a\xff\n\0\"\xC3", 6)).Add("owner", std::string(100'000, '\x01'));
  const std::string text = entry.ToJson();
  EXPECT_LT(text.size(), 6 * Entry::kMaxText + 500);
  const auto json = nlohmann::json::parse(text, nullptr, /*allow_exceptions=*/false);
  ASSERT_TRUE(json.is_object()) << text;
  EXPECT_EQ(json["name"], std::string("a\xEF\xBF\xBD\n\0\"\xEF\xBF\xBD", 10));
}

}  // namespace
}  // namespace corpgrid::audit
