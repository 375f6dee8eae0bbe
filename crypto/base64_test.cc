#include "crypto/base64.h"

#include "gtest/gtest.h"

namespace corpgrid::crypto {
namespace {

TEST(Base64Test, HasTheVectorsOfRfc4648) {
  const std::pair<std::string_view, std::string_view> vectors[] = {{"", ""},
                                                                   {"f", "Zg=="},
                                                                   {"fo", "Zm8="},
                                                                   {"foo", "Zm9v"},
                                                                   {"foob", "Zm9vYg=="},
                                                                   {"fooba", "Zm9vYmE="},
                                                                   {"foobar", "Zm9vYmFy"}};
  for (const auto& [bytes, text] : vectors) {
    EXPECT_EQ(ToBase64(bytes), text);
    const auto back = FromBase64(text);
    ASSERT_TRUE(back.ok()) << back.status();
    EXPECT_EQ(*back, bytes);
  }
}

TEST(Base64Test, RefusesWhatItWouldNotWrite) {
  for (const std::string_view text : {"Zg", "Zg=", "Zg===", "Zh==", "Z", "Zm9v\n", " Zm9v", "Zm9-",
                                      "Zm9_", "Zm 9v", "Zm9vZg==Zg==", "///\xAF"}) {
    EXPECT_TRUE(absl::IsInvalidArgument(FromBase64(text).status())) << text;
  }
}

}  // namespace
}  // namespace corpgrid::crypto
