#include "crypto/encoding.h"

#include <limits>

#include "gtest/gtest.h"

namespace corpgrid::crypto {
namespace {

TEST(EncodingTest, TheBytesAreWhatTheFormatSays) {
  // Signatures of other versions of this program cover these bytes: they must never change.
  const std::string expected(
      "\x02\0\0\0ab"
      "\x08\0\0\0\x07\0\0\0\0\0\0\0"
      "\x03\0\0\0xyz"
      "\x08\0\0\0\x04\x03\x02\x01\0\0\0\0",
      6 + 12 + 7 + 12);
  EXPECT_EQ(Encoder("ab", 7).Add("xyz").Add(uint64_t{0x01020304}).bytes(), expected);
}

TEST(EncodingTest, WhatWasWrittenComesBack) {
  const std::string bytes = Encoder("d", 1)
                                .Add("text")
                                .Add("")
                                .Add(std::numeric_limits<uint64_t>::max())
                                .AddSigned(-5)
                                .AddSigned(true)
                                .Add(uint64_t{3})
                                .bytes();
  Decoder decoder(bytes, "d", 1);
  EXPECT_EQ(decoder.Text(), "text");
  EXPECT_EQ(decoder.Text(), "");
  EXPECT_EQ(decoder.Number(), std::numeric_limits<uint64_t>::max());
  EXPECT_EQ(decoder.Signed(), -5);
  EXPECT_EQ(decoder.Signed(), 1);
  EXPECT_EQ(decoder.Count(3), 3u);
  EXPECT_TRUE(decoder.Finish().ok());
}

TEST(EncodingTest, FieldsCannotShiftIntoEachOther) {
  EXPECT_NE(Encoder("d", 1).Add("ab").Add("c").bytes(), Encoder("d", 1).Add("a").Add("bc").bytes());
  EXPECT_NE(Encoder("d", 1).Add("ab").bytes(), Encoder("d", 1).Add("ab").Add("").bytes());
  EXPECT_NE(Encoder("d", 1).bytes(), Encoder("d", 2).bytes());
}

TEST(EncodingTest, OtherDomainsAndVersionsAreRefused) {
  const std::string bytes = Encoder("result", 1).bytes();
  EXPECT_TRUE(Decoder(bytes, "result", 1).Finish().ok());
  EXPECT_EQ(Decoder(bytes, "job", 1).Finish().message(), "malformed encoding: this is no job");
  EXPECT_EQ(Decoder(bytes, "result", 2).Finish().message(),
            "malformed encoding: result of version 1, this program reads version 2");
}

TEST(EncodingTest, EveryCutAndEveryExtraByteIsFound) {
  const std::string bytes = Encoder("d", 1).Add("text").Add(uint64_t{9}).bytes();
  const auto read = [](std::string_view from) {
    Decoder decoder(from, "d", 1);
    decoder.Text();
    decoder.Number();
    return decoder.Finish();
  };
  EXPECT_TRUE(read(bytes).ok());
  for (size_t size = 0; size < bytes.size(); ++size) {
    EXPECT_TRUE(absl::IsInvalidArgument(read(std::string_view(bytes).substr(0, size)))) << size;
  }
  EXPECT_EQ(read(bytes + "x").message(), "malformed encoding: bytes left over: 1");
}

TEST(EncodingTest, TheFirstErrorSticks) {
  const std::string bytes = Encoder("d", 1).Add("long").Add(uint64_t{100}).bytes();
  Decoder decoder(bytes, "d", 1);
  EXPECT_EQ(decoder.Number(), 0u);  // a text of four bytes is no number
  EXPECT_FALSE(decoder.ok());
  EXPECT_EQ(decoder.Number(), 0u);
  EXPECT_EQ(decoder.Finish().message(),
            "malformed encoding: expected a number of 8 bytes, got 4 bytes");
}

TEST(EncodingTest, ALyingCountIsAnError) {
  const std::string bytes = Encoder("d", 1).Add(uint64_t{4'000'000'000}).bytes();
  Decoder decoder(bytes, "d", 1);
  EXPECT_EQ(decoder.Count(10), 0u);
  EXPECT_EQ(decoder.Finish().message(),
            "malformed encoding: a count of 4000000000, at most 10 are allowed");
}

}  // namespace
}  // namespace corpgrid::crypto
