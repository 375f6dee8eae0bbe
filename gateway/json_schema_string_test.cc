#include <algorithm>
#include <random>
#include <string>
#include <vector>

#include "gateway/pattern.h"
#include "gateway/test_json_schema.h"

namespace corpgrid::gateway {
namespace {

std::string SchemaOf(const std::string& pattern) {
  const Json schema = {{"type", "string"}, {"pattern", pattern}};
  return schema.dump();
}

void ExpectPattern(const std::string& pattern, const std::vector<std::string>& good,
                   const std::vector<std::string>& bad) {
  Expect(SchemaOf(pattern), good, bad);
}

TEST(JsonSchemaStringTest, StringsHaveLengthsPatternsAndFormats) {
  Expect(R"({"type": "string", "minLength": 2, "maxLength": 3})",
         {R"("ab")", R"("a\n\"")", R"("\u00e9bc")", R"("éß€")"},
         {R"("a")", R"("abcd")", R"("a\)", R"("\ud800b")", "\"a\nb\"", R"("é")"});
  const std::string many(1000, 'a');
  Expect(R"({"type": "string", "maxLength": 9007199254740991})", {R"("")", '"' + many + '"'},
         {'"' + many + "a\""});
  Expect(R"({"type": "string", "pattern": "^[A-Z]{2}-(\\d+|x)[^y]?\"$"})",
         {R"("AB-12\"")", R"("AB-x\"")", R"("AB-1z\"")"},
         {R"("AB-12")", R"("aB-1\"")", R"("AB-xy\"")"});
  Expect(R"({"type": "string", "pattern": "^a.c|(?:\\\\w)*$"})",
         {R"("abc")", R"("\\w\\w")", R"("")"}, {R"("a"c")", R"("w")"});
  Expect(R"({"type": "string", "format": "date-time"})", {R"("2026-02-28T23:59:59Z")"},
         {R"("2026-13-01T00:00:00Z")", R"("2026-02-28")"});
  Expect(R"({"type": "string", "format": "ipv4"})", {R"("127.0.0.1")", R"("255.255.255.255")"},
         {R"("256.0.0.1")"});
  Expect(R"({"type": "string", "format": "email"})", {R"("a.b@example.org")", R"("a@b-c.de")"},
         {R"("a@")", R"("a@b-.de")", R"("a@b")", R"(".a@b.de")"});
}

TEST(JsonSchemaStringTest, FormatsAreThoseOfTheirStandards) {
  Expect(R"({"type": "string", "format": "date"})",
         {R"("2026-12-31")", R"("2024-02-28")", R"("2026-11-30")", R"("2026-04-09")"},
         {R"("2026-02-30")", R"("2026-04-31")", R"("2026-13-01")", R"("2026-1-01")"});
  Expect(R"({"type": "string", "format": "uuid"})", {R"("01234567-89ab-cdef-0123-456789abcdef")"},
         {R"("01234567-89ab-cdef-0123456789ab")"});
  Expect(R"({"type": "string", "format": "ipv6"})", {R"("2001:db8:0:0:0:0:0:1")"},
         {R"("1:2:3:4:5:6:7")", R"("1:2:3:4:5:6:7:8:9")", R"("12345:2:3:4:5:6:7:8")"});
  Expect(R"({"type": "string", "format": "hostname"})",
         {R"("localhost")", R"("a.b-c.example.org")", R"("1a.de")"},
         {R"("")", R"("-a.de")", R"("a-.de")", R"("a..de")", R"("a--b.de")", R"("1.2")"});
  Expect(R"({"type": "string", "format": "uri"})",
         {R"("https://example.org")", R"("http://a.de:8080/b/%C3%A9?c=d&e#f")", R"("ftp://a/")"},
         {R"("example.org")", R"("https://")", R"("https://a b.de")", R"("https://a.de/%zz")",
          R"("https://a.de/\"")", R"("https://a.de:0")"});
  Expect(R"({"type": "string", "format": "duration"})",
         {R"("P3D")", R"("P1Y2M3DT4H5M6S")", R"("PT1M")", R"("P2W")", R"("P1MT1S")"},
         {R"("P")", R"("PT")", R"("P1Y3D")", R"("PT1H1S")", R"("P1W1D")", R"("1D")", R"("P1S")"});
}

// A thousand repetitions in a row took the worker a second a token, a large class a thousand times
// hundreds of MiB.
TEST(JsonSchemaStringTest, PatternsThatTakeLongAreRefused) {
  std::string stars, counts;
  for (int i = 0; i < 101; ++i) stars += "a*";
  for (int i = 0; i < 11; ++i) counts += "a{1000}";
  for (const std::string& pattern :
       {stars, std::string("(a?){101}"), std::string("((a?){9}b){12}")}) {
    ExpectError(SchemaOf(pattern), "more than 100 parts");
  }
  ExpectError(SchemaOf(counts), "repetitions of more than 10000 in all");
  Gbnf grammar;
  const auto body = PatternToGbnf("^[a-fx]{1000}([0-9]{1,3},?){9}$", &grammar);
  ASSERT_TRUE(body.ok()) << body.status();
  EXPECT_THAT(*body, ::testing::Not(::testing::HasSubstr("]{")));
}

TEST(JsonSchemaStringTest, WhatIsNotSupportedIsNamed) {
  ExpectError(R"({"type": "string", "format": "regex"})", "\"regex\", which is not supported");
  ExpectError(R"({"type": "string", "format": "uri", "minLength": 1})", "may have only one of");
  ExpectError(R"({"type": "string", "format": "uri", "pattern": "a"})", "may have only one of");
  ExpectError(R"({"type": "string", "minLength": 5, "maxLength": 4})", "is more than maxLength");
  ExpectError(R"({"type": "string", "minLength": 1001})", "minLength is 1001");
  ExpectError(R"({"type": "string", "pattern": "^(?=a)b$"})", "a look-around");
  ExpectError(R"({"type": "string", "pattern": "^(a"})", "a ( without its )");
  ExpectError(SchemaOf("^(a$|b)$"), "an anchor within it");
  ExpectError(SchemaOf("^a^b$"), "an anchor within it");
  ExpectError(SchemaOf("^[z-a]$"), "ends before it begins");
  ExpectError(SchemaOf("^[^z-a]$"), "ends before it begins");
  ExpectError(SchemaOf("^[ü-à]$"), "ends before it begins");
  ExpectError(SchemaOf("^[\x01-\x1f\x7f]$"), "nothing but control characters");
  ExpectError(SchemaOf(std::string("^[^\0-\xf4\x8f\xbf\xbf]$", 11)), "leaves no character");
  ExpectError(SchemaOf("^[]a]$"), "begins with ]");
  ExpectError(SchemaOf("^[a$"), "a [ without its ]");
  ExpectError(SchemaOf("^[a\\"), "a [ without its ]");
  ExpectError(SchemaOf("^a{3,2}$"), "whose most is less than its least");
  ExpectError(SchemaOf("^a{1,2,3}$"), "that is no repetition");
  ExpectError(SchemaOf("^a{,3}$"), "that is no repetition");
  ExpectError(SchemaOf("^a{2"), "that is no repetition");
  ExpectError(SchemaOf("^a{99999999999}$"), "more than 1000");
  ExpectError(SchemaOf(std::string(100'000, 'a')), "more than 64 KiB");
}

TEST(JsonSchemaStringTest, PatternsAreSearchedFor) {
  ExpectPattern("b+", {R"("b")", R"("abbc")", R"("\n\"b")"}, {R"("")", R"("ac")", R"("b"")"});
  ExpectPattern("^b|c", {R"("b")", R"("bx")", R"("c")", R"("cx")"}, {R"("xb")", R"("a")"});
  ExpectPattern("a|b$", {R"("a")", R"("xb")"}, {R"("bx")", R"("")"});
  ExpectPattern("^a$|^b$", {R"("a")", R"("b")"}, {R"("ab")", R"("")", R"("a|b")"});
  ExpectPattern("^(a|b)$", {R"("a")", R"("b")"}, {R"("ab")"});
  ExpectPattern(R"(^a\$)", {R"("a$")", R"("a$x")"}, {R"("a")", R"("xa$")"});
  ExpectPattern("", {R"("")", R"("x")"}, {"x"});
  ExpectPattern("^$", {R"("")"}, {R"("x")"});
  ExpectPattern("^a{2,3}$", {R"("aa")", R"("aaa")"}, {R"("a")", R"("aaaa")"});
  ExpectPattern("^a{2,}b{1}$", {R"("aab")", R"("aaaaaab")"}, {R"("ab")", R"("aabb")"});
  ExpectPattern("^.$", {R"("é")", R"("a")"}, {R"("")", R"("ab")", "\"\u2028\""});
}

TEST(JsonSchemaStringTest, ClassesAreOfWhatJsonCanHave) {
  ExpectPattern("^[A-z]$", {R"("A")", R"("z")", R"("[")", R"("^")", R"("\\")"},
                {R"("\")", R"("0")", R"("é")", R"("\"")"});
  ExpectPattern("^[ -~]$", {R"(" ")", R"("~")", R"("\"")", R"("\\")", R"("]")", R"("-")"},
                {R"(""")", R"("\")", "\"\n\"", "\"\x7f\"", R"("é")"});
  ExpectPattern(R"(^["\\]$)", {R"("\"")", R"("\\")"}, {R"(""")", R"("\")", R"("a")"});
  ExpectPattern("^[\n-a]$", {R"("a")", R"(" ")", R"("\"")"}, {"\"\n\"", R"("b")", R"("\")"});
  ExpectPattern("^[à-ü]$", {R"("à")", R"("é")", R"("ü")"}, {R"("ÿ")", R"("a")", R"("ß")"});
  ExpectPattern("^[€-😀x]$", {R"("€")", R"("😀")", R"("x")"}, {R"("é")", R"("😁")", R"("€€")"});
  ExpectPattern("^[^à-ü]$", {R"("ÿ")", R"("a")"}, {R"("é")", R"(""")", R"("\")", R"("\"")"});
  ExpectPattern("^[^A-z]$", {R"("0")", R"("é")"}, {R"("A")", R"("[")", R"("\\")"});
  ExpectPattern(R"(^\é[\é\]]$)", {R"("éé")", R"("é]")"}, {R"("é")", R"("]]")"});
  ExpectPattern(R"(^[\w.-]+$)", {R"("a_1.-")"}, {R"("")", R"("a b")", R"("/")"});
  ExpectPattern(R"(^[\w-.]+$)", {R"("a-b.c")"}, {R"("/")"});
  ExpectPattern("^[-a]$", {R"("-")", R"("a")"}, {R"("b")"});
  ExpectPattern(R"(^[^\s]$)", {R"("a")"}, {R"(" ")", "\"\u00a0\"", "\"\u2003\""});
}

size_t CountIn(const std::string& text, char from, char to) {
  return static_cast<size_t>(
      std::count_if(text.begin(), text.end(), [&](char c) { return from <= c && c <= to; }));
}

// What is written is JSON of the schema, whatever the grammar leaves open.
TEST(JsonSchemaStringTest, AnswersAreOfThePattern) {
  struct Case {
    const char* pattern;
    bool (*fits)(const std::string& text);
  };
  const std::vector<Case> cases = {
      {"^[A-z]{1,9}$",
       [](const std::string& text) {
         return !text.empty() && text.size() <= 9 && CountIn(text, 'A', 'z') == text.size();
       }},
      {"^[ -~]+$",
       [](const std::string& text) {
         return !text.empty() && CountIn(text, ' ', '~') == text.size();
       }},
      {R"(^[!-\]]{0,12}$)",
       [](const std::string& text) {
         return text.size() <= 12 && CountIn(text, '!', ']') == text.size();
       }},
      {R"(["'\\])",
       [](const std::string& text) { return text.find_first_of("\"'\\") != std::string::npos; }},
      {R"([#-\\]{2}|[ -"]$)",
       [](const std::string& text) {
         return CountIn(text, '#', '\\') >= 2 ||
                CountIn(text.substr(text.size() - 1), ' ', '"') == 1;
       }},
      {R"(^([!-Z]|[^-a-z"]x){2,}$)",
       [](const std::string& text) { return text.size() >= 2 && CountIn(text, 'a', 'w') == 0; }},
      {R"(^\d|[Y-_])", [](const std::string& text) {
         return CountIn(text.substr(0, 1), '0', '9') + CountIn(text, 'Y', '_') > 0;
       }}};
  std::mt19937 random(20260103);  // NOLINT(cert-msc51-cpp): the same each time
  for (const Case& one : cases) {
    const auto grammar = GrammarOf(SchemaOf(one.pattern));
    ASSERT_TRUE(grammar.ok()) << one.pattern << ": " << grammar.status();
    for (int i = 0; i < 300; ++i) {
      const std::string text = grammar->Write(&random);
      EXPECT_TRUE(grammar->Matches(text)) << text << " of " << one.pattern;
      const Json value = Json::parse(text, nullptr, /*allow_exceptions=*/false);
      ASSERT_TRUE(value.is_string()) << text << " of " << one.pattern;
      EXPECT_TRUE(one.fits(value.get<std::string>())) << text << " of " << one.pattern;
    }
  }
}

TEST(JsonSchemaStringTest, AnswersAreOfTheFormat) {
  std::mt19937 random(20260104);  // NOLINT(cert-msc51-cpp): the same each time
  for (const char* format : {"date", "time", "date-time", "duration", "uuid", "ipv4", "ipv6",
                             "hostname", "email", "uri"}) {
    const auto grammar =
        GrammarOf(std::string(R"({"type": "string", "format": ")") + format + "\"}");
    ASSERT_TRUE(grammar.ok()) << format << ": " << grammar.status();
    for (int i = 0; i < 50; ++i) {
      const std::string text = grammar->Write(&random);
      EXPECT_TRUE(Json::accept(text)) << text;
      EXPECT_LE(text.size(), 255u) << text;
    }
  }
}

}  // namespace
}  // namespace corpgrid::gateway
