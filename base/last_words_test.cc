#include "base/last_words.h"

#include "gtest/gtest.h"

namespace corpgrid {
namespace {

TEST(LastWordsTest, AreTheLastWholeLinesInOne) {
  EXPECT_EQ(LastWords(""), "");
  EXPECT_EQ(LastWords("\n\n"), "");
  EXPECT_EQ(LastWords("loading\nGGML_ASSERT failed\n\n"), "loading / GGML_ASSERT failed");
  const std::string line(400, 'x');
  EXPECT_EQ(LastWords(line + "\n" + line + "\nend\n"), line + " / end");
  EXPECT_EQ(LastWords(line + line), std::string(kLastWordsBytes, 'x'));  // of one line its end
}

}  // namespace
}  // namespace corpgrid
