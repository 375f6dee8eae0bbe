#include "inference/text_stream.h"

#include <gtest/gtest.h>

#include <random>

namespace corpgrid::inference {
namespace {

TEST(TextStreamTest, ShowsWholeCharactersOnly) {
  TextStream text({});
  EXPECT_EQ(text.Push("a\xE2"), "a");
  EXPECT_EQ(text.Push("\x82"), "");
  EXPECT_EQ(text.Push("\xAC!"), "€!");
  EXPECT_EQ(text.Push("\xF0\x9F"), "");
  EXPECT_EQ(text.Finish(), "\xEF\xBF\xBD");
}

TEST(TextStreamTest, BytesThatAreNoCharacterAreReplaced) {
  for (const std::string bad : {"\xFF", "\xC0", "\x80", "\xF5"}) {
    EXPECT_EQ(TextStream({}).Push(bad + "x"), "\xEF\xBF\xBDx");
  }
  EXPECT_EQ(TextStream({}).Push("\xED\xA0\x80"), "\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD");
  EXPECT_EQ(TextStream({}).Push("\xE2(x"), "\xEF\xBF\xBD(x");
}

TEST(TextStreamTest, EndsBeforeAStopStringThatComesInParts) {
  TextStream text({"STOP", "ND"});
  EXPECT_EQ(text.Push("go S"), "go ");
  EXPECT_EQ(text.Push("TO"), "");
  EXPECT_EQ(text.Push("SSTO"), "STOS");
  EXPECT_FALSE(text.stopped());
  EXPECT_EQ(text.Push("P and more"), "");
  EXPECT_TRUE(text.stopped());
  EXPECT_EQ(text.Push("more"), "");
  EXPECT_EQ(text.Finish(), "");
}

TEST(TextStreamTest, TheFirstOfSeveralStopStringsCounts) {
  TextStream text({"later", "soon"});
  EXPECT_EQ(text.Push("now soon later"), "now ");
  EXPECT_TRUE(text.stopped());
}

TEST(TextStreamTest, WhatWasKeptBackComesAtTheEnd) {
  TextStream text({"STOP"});
  EXPECT_EQ(text.Push("a STO"), "a ");
  EXPECT_EQ(text.Finish(), "STO");
}

// However a text is cut, what is shown is the same.
TEST(TextStreamTest, CutsDoNotMatter) {
  const std::string whole = "Grüße aus €-Land 🙂, ab ab abc STOP nie";
  std::mt19937 random(1);
  for (int run = 0; run < 500; ++run) {
    TextStream text({"STOP", "abd"});
    std::string shown;
    for (size_t at = 0; at < whole.size();) {
      const size_t length = 1 + random() % 5;
      shown += text.Push(whole.substr(at, length));
      at += length;
    }
    shown += text.Finish();
    ASSERT_EQ(shown, "Grüße aus €-Land 🙂, ab ab abc ");
  }
}

}  // namespace
}  // namespace corpgrid::inference
