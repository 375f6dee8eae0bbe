#include "job/closeness.h"

#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

#include "fmt/format.h"
#include "gtest/gtest.h"

namespace corpgrid::job {
namespace {

constexpr double kInf = std::numeric_limits<double>::infinity();
constexpr double kNan = std::numeric_limits<double>::quiet_NaN();

Tolerance Within(NumberFormat format, double absolute, double relative) {
  return {.format = format, .absolute = absolute, .relative = relative};
}

// Difference(), which must be of the same mind whichever of the two comes first.
std::string Both(const Tolerance& tolerance, std::string_view a, std::string_view b) {
  std::string found = Difference(tolerance, a, b);
  EXPECT_EQ(found.empty(), Difference(tolerance, b, a).empty());
  return found;
}

template <typename Float>
std::string Array(const std::vector<Float>& numbers) {
  return std::string(reinterpret_cast<const char*>(numbers.data()), numbers.size() * sizeof(Float));
}

TEST(ClosenessTest, IsWithinTheLargerOfBothTolerances) {
  const Tolerance absolute = Within(NumberFormat::kText, 0.5, 0);
  EXPECT_TRUE(IsClose(1, 1.5, absolute));
  EXPECT_FALSE(IsClose(1, 1.51, absolute));
  const Tolerance relative = Within(NumberFormat::kText, 0, 0.125);
  EXPECT_TRUE(IsClose(7, 8, relative));
  EXPECT_TRUE(IsClose(-8, -7, relative));
  EXPECT_FALSE(IsClose(6.9, 8, relative));
  EXPECT_FALSE(IsClose(0, 1e-300, relative)) << "nothing but zero is relatively close to zero";
  EXPECT_TRUE(IsClose(0.0, -0.0, relative));
  EXPECT_TRUE(IsClose(0, 0.5, Within(NumberFormat::kText, 0.5, 0.125)));
  EXPECT_TRUE(IsClose(7, 8, Within(NumberFormat::kText, 0.5, 0.125)));
}

TEST(ClosenessTest, NanAndInfinityAreNoNumbersToBeNear) {
  const Tolerance wide = Within(NumberFormat::kText, 1e300, 1);
  EXPECT_FALSE(IsClose(kNan, kNan, wide));
  EXPECT_FALSE(IsClose(kNan, 1, wide));
  EXPECT_TRUE(IsClose(kInf, kInf, wide));
  EXPECT_FALSE(IsClose(kInf, -kInf, wide));
  EXPECT_FALSE(IsClose(kInf, 5, wide)) << "a relative tolerance times infinity is infinity";
  EXPECT_FALSE(IsClose(1e308, -1e308, Within(NumberFormat::kText, 1e300, 0.5)));
}

TEST(ClosenessTest, IsNotTransitive) {
  const Tolerance tolerance = Within(NumberFormat::kText, 1, 0);
  EXPECT_TRUE(IsClose(0, 1, tolerance) && IsClose(1, 2, tolerance));
  EXPECT_FALSE(IsClose(0, 2, tolerance));
}

TEST(ClosenessTest, TextComparesNumbersAmongWords) {
  const Tolerance tolerance = Within(NumberFormat::kText, 0, 1e-6);
  EXPECT_EQ(Both(tolerance, "energy: 1.0000001 (in J)\n", "energy:  1.0 (in J)"), "");
  EXPECT_EQ(Both(tolerance, "[1,+2,3e0]\r\n\n", "[1.0, 2, 3]"), "");
  EXPECT_EQ(Both(tolerance, "", "  \n\n"), "");
  EXPECT_EQ(Both(tolerance, "x 1\ny 2\n", "x 1\ny 2.1\n"), "line 2: \"2\" and \"2.1\"");
  EXPECT_EQ(Both(tolerance, "a\nb", "a b"), "line 1: the end of the line and \"b\"");
  EXPECT_EQ(Both(tolerance, "a", "a b"), "line 1: the end and \"b\"");
  EXPECT_EQ(Both(tolerance, "nan", "nan"), "line 1: \"nan\" and \"nan\"");
  EXPECT_EQ(Both(tolerance, "-inf 1e-400", "-Infinity 0"), "");
}

TEST(ClosenessTest, APartOfAWordIsNoNumber) {
  const Tolerance wide = Within(NumberFormat::kText, 1e6, 0);
  EXPECT_EQ(Both(wide, "1", "999"), "");
  EXPECT_NE(Both(wide, "2026-11-21", "2026-11-22"), "");
  EXPECT_NE(Both(wide, "v1.2", "v1.3"), "");
  EXPECT_NE(Both(wide, "1.2.3", "1.2.4"), "");
  EXPECT_NE(Both(wide, "0x10", "0x11"), "");
  EXPECT_NE(Both(wide, "3rd", "4rd"), "");
  EXPECT_NE(Both(wide,
                 "\xc3\xa9"
                 "1",
                 "\xc3\xa9"
                 "2"),
            "");
}

TEST(ClosenessTest, CsvComparesFields) {
  const Tolerance tolerance = Within(NumberFormat::kCsv, 0.01, 0);
  EXPECT_EQ(Both(tolerance, "name,x\n\"a,\"\"b\"\"\",1.00\r\n", "name,x\n\"a,\"\"b\"\"\", 1.005"),
            "");
  EXPECT_EQ(Both(tolerance, "\"1\",2\n", "1,\"2\"\n"), "");
  EXPECT_EQ(Both(tolerance, "\"two\nlines\",1\n", "\"two\nlines\",2\n"),
            "row 1, column 2: \"1\" and \"2\"");
  EXPECT_EQ(Both(tolerance, "a,b\nc,d\n", "a,b\nc\n"),
            "row 2, column 1 ends the row, or the text, in one of them only");
  EXPECT_NE(Both(tolerance, "a\n", "a\nb\n"), "");
  EXPECT_NE(Both(tolerance, "a,\n", "a\n"), "");
  EXPECT_NE(Both(tolerance, "nan\n", "nan\n"), "");
  for (const char* broken : {"\"open", "a\"b", "\"a\"b", "\"\"\""}) {
    EXPECT_EQ(Both(tolerance, broken, broken), "row 1, column 1 is no CSV (RFC 4180)") << broken;
  }
}

TEST(ClosenessTest, JsonComparesValues) {
  const Tolerance tolerance = Within(NumberFormat::kJson, 0, 1e-3);
  EXPECT_EQ(Both(tolerance, R"({"a": [1, 2.0], "b": null})", R"({"b":null,"a":[1.0001,2]})"), "");
  EXPECT_EQ(Both(tolerance, R"({"a": [1, 2]})", R"({"a": [1, 3]})"), "/a/1: \"2\" and \"3\"");
  EXPECT_EQ(Both(tolerance, "[1]", "[1, 2]"), ": 1 and 2 items");
  EXPECT_EQ(Both(tolerance, R"({"a": 1})", R"({"b": 1})"), ": the keys \"a\" and \"b\"");
  EXPECT_NE(Both(tolerance, "1", "\"1\""), "");
  EXPECT_NE(Both(tolerance, "true", "false"), "");
  EXPECT_NE(Both(tolerance, "[]", "{}"), "");
}

TEST(ClosenessTest, JsonKeepsWholeNumbersWhole) {
  const Tolerance none = Within(NumberFormat::kJson, 0, 0);
  EXPECT_EQ(Both(none, "9007199254740993", "9007199254740993"), "");
  EXPECT_EQ(Both(none, "18446744073709551615", "18446744073709551615"), "");
  EXPECT_NE(Both(none, "9007199254740993", "9007199254740992"), "");
  EXPECT_NE(Both(none, "-1", "18446744073709551615"), "");
  EXPECT_NE(Both(none, "-9223372036854775808", "9223372036854775808"), "");
  EXPECT_EQ(Both(none, "-9223372036854775808", "-9223372036854775808"), "");
  EXPECT_EQ(Both(Within(NumberFormat::kJson, 1, 0), "9007199254740993", "9007199254740992"), "");
}

TEST(ClosenessTest, WholeNumbersAndWhatIsTooLargeInText) {
  const Tolerance none = Within(NumberFormat::kText, 0, 0);
  EXPECT_EQ(Both(none, "9007199254740993 007 +5", "9007199254740993 7 5"), "");
  EXPECT_NE(Both(none, "9007199254740993", "9007199254740992"), "");
  EXPECT_EQ(Both(none, "1e400", "1e400"), "");
  EXPECT_NE(Both(none, "1e400", "1e500"), "");
  EXPECT_NE(Both(none, "1e400", "inf"), "");
}

TEST(ClosenessTest, ALongKeyCostsItsLengthOnce) {
  const std::string key(1 << 20, 'k');
  std::string text = "{\"" + key + "\": [";
  for (int i = 0; i < 200'000; ++i) text += "0,";
  const Tolerance tolerance = Within(NumberFormat::kJson, 0.5, 0);
  const std::string found = Both(tolerance, text + "0]}", text + "1]}");
  EXPECT_TRUE(found.ends_with("/200000: \"0\" and \"1\"")) << found.substr(0, 100);
  EXPECT_LT(found.size(), 100u);
}

TEST(ClosenessTest, WhatIsNoJsonDiffersFromItself) {
  const Tolerance tolerance = Within(NumberFormat::kJson, 1, 0);
  const std::string deep = std::string(300, '[') + std::string(300, ']');
  for (const std::string& broken :
       {std::string("NaN"), std::string("{\"a\": 1, \"a\": 1}"), std::string("[1,]"),
        std::string("1 2"), std::string("\"\xff\""), std::string(), deep, std::string("1e999")}) {
    EXPECT_TRUE(Both(tolerance, broken, broken).starts_with("no JSON")) << broken;
  }
}

TEST(ClosenessTest, ArraysCompareElements) {
  const Tolerance f32 = Within(NumberFormat::kF32, 0, 1e-6);
  EXPECT_EQ(Both(f32, Array<float>({1, 2}), Array<float>({1, std::nextafter(2.F, 3.F)})), "");
  EXPECT_EQ(Both(f32, Array<float>({1, 2}), Array<float>({1, 2.5F})), "element 1: 2 and 2.5");
  EXPECT_EQ(Both(f32, Array<float>({1}), Array<float>({1, 2})), "4 and 8 bytes");
  EXPECT_EQ(Both(f32, "abcde", "abcde"), "5 bytes are no array of 4-byte numbers");
  const Tolerance f64 = Within(NumberFormat::kF64, 1e-12, 0);
  EXPECT_EQ(Both(f64, Array<double>({0, kInf}), Array<double>({1e-12, kInf})), "");
  EXPECT_NE(Both(f64, Array<double>({kNan}), Array<double>({kNan})), "");
}

}  // namespace
}  // namespace corpgrid::job
