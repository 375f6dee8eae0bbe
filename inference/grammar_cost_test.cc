#include "inference/grammar_cost.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <string>

#include "fmt/format.h"
#include "inference/token_filter.h"

namespace corpgrid::inference {
namespace {

using ::testing::HasSubstr;

std::string ErrorOf(const std::string& grammar) {
  return std::string(CostOf(grammar).status().message());
}

// Rules of `width` times the next one.
std::string Nested(int depth, int width) {
  std::string grammar = "root ::= a0\n";
  for (int i = 0; i < depth; ++i) {
    grammar += fmt::format("a{} ::= a{}", i, i + 1);
    for (int n = 1; n < width; ++n) grammar += fmt::format(" | a{}", i + 1);
    grammar += "\n";
  }
  return grammar + fmt::format("a{} ::= \"x\"\n", depth);
}

TEST(GrammarCostTest, AlternativesWithinAlternativesMultiply) {
  EXPECT_LT(CostOf(Nested(3, 4))->beginnings, 300);
  EXPECT_THAT(ErrorOf(Nested(15, 8)), HasSubstr("more than 8192 ways to begin"));
  EXPECT_THAT(ErrorOf(Nested(60, 2)), HasSubstr("more than 8192 ways to begin"));
  // Behind what may be empty, too, and in the middle of a text.
  EXPECT_FALSE(CostOf(Nested(15, 8) + "b ::= \"y\" \"z\"? [a]* a0").ok());
}

TEST(GrammarCostTest, WaysToBeEmptyMultiply) {
  EXPECT_THAT(ErrorOf("root ::= \"a\" b\nb ::= ( \"x\"? | \"y\"? ){0,50} \"c\""),
              HasSubstr("rule b"));
  // Three ways to be nothing, fifteen times; also after a letter.
  EXPECT_FALSE(CostOf("root ::= ( \"a\"? | \"b\"? | \"c\"? ){1,15} \"d\"").ok());
  EXPECT_FALSE(CostOf("root ::= \"x\" e e e e e e e e \"y\"\ne ::= | | | | | | |").ok());
  EXPECT_FALSE(CostOf("root ::= \"x\" ( \"\" | \"\" ){1000000000}").ok());
  // A rule that need not come, forty times, and that on three levels.
  EXPECT_FALSE(CostOf("root ::= r3\nr0 ::= \"a\"\nr1 ::= r0?{40} \"x\"\nr2 ::= r1?{40} \"x\"\n"
                      "r3 ::= r2?{40} \"x\"")
                   .ok());
  // One way only, as patterns have it.
  EXPECT_TRUE(CostOf("root ::= ( [A-Z]? [0-9]? ){1,20}").ok());
  EXPECT_TRUE(CostOf("root ::= ( \" \"? [a-z]* ){1,16}").ok());
  EXPECT_TRUE(CostOf("root ::= ( \"x\"? ){0,500} \"c\"").ok());
}

TEST(GrammarCostTest, ACommentEndsWithItsLineHoweverThatEnds) {
  std::string nested = "# c\n" + Nested(15, 8);
  std::replace(nested.begin(), nested.end(), '\n', '\r');
  EXPECT_FALSE(CostOf(nested).ok());
}

TEST(GrammarCostTest, ARuleMayBeginInTheNextLine) {
  EXPECT_TRUE(CostOf("root ::= list\nlist ::= item list | \".\"\nitem ::=\n  \"a\" \"b\"").ok());
  std::string nested = Nested(15, 8);
  for (size_t at = 0; (at = nested.find("::=", at)) != std::string::npos; at += 4)
    nested.insert(at + 3, "\n");
  EXPECT_FALSE(CostOf(nested).ok());
}

TEST(GrammarCostTest, UsualGrammarsPass) {
  EXPECT_TRUE(CostOf(kJsonGrammar).ok()) << CostOf(kJsonGrammar).status();
  std::string names = "root ::= \"0\"";
  for (int i = 1; i < 8000; ++i) names += fmt::format(" | \"{}\"", i);
  EXPECT_TRUE(CostOf(names).ok()) << CostOf(names).status();
  EXPECT_TRUE(CostOf("root ::= [a-z]{0,2000} # \"( [\n").ok());
  EXPECT_TRUE(CostOf("root ::= \"[\" root \"]\" | ( \"a\"? )* \"b\"").ok());
  EXPECT_TRUE(CostOf("root ::= ( [^\"\\\\\\]] | \"\\\\\" .\n | \"x\" )+").ok());
}

TEST(GrammarCostTest, WhatBeginsWithItselfHasNoEnd) {
  EXPECT_THAT(ErrorOf("root ::= root \"a\""), HasSubstr("rule root begins with itself"));
  EXPECT_THAT(ErrorOf("root ::= \"a\"? b\nb ::= ( root )"), HasSubstr("begins with itself"));
  std::string chain = "root ::= a0\n";
  for (int i = 0; i < 3000; ++i) chain += fmt::format("a{} ::= a{}\n", i, i + 1);
  EXPECT_THAT(ErrorOf(chain), HasSubstr("more than 1000 rules"));
}

TEST(GrammarCostTest, RepetitionsTakeMemory) {
  EXPECT_LT(CostOf("root ::= [a-z]*")->bytes, 1000u);
  EXPECT_GT(CostOf("root ::= [a-z]{0,2000}")->bytes, 100'000u);
  EXPECT_GT(CostOf("root ::= [a-z]{2000,} [a-z]{2000}")->bytes, 200'000u);
}

TEST(GrammarCostTest, WhatIsNoGrammarIsLeftToTheLibrary) {
  for (const char* text : {"", "root", "root ::= (", "::=", "root ::= \"", "root ::= [\\", "| )",
                           "root ::= \"a\"{", "root ::= \"a\"{9,", ")))", "root ::= <", "\\"}) {
    EXPECT_TRUE(CostOf(text).ok()) << text;
  }
}

}  // namespace
}  // namespace corpgrid::inference
