#include "gateway/json_schema.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>

#include "base/status_macros.h"
#include "fmt/format.h"
#include "gateway/api_error.h"
#include "gateway/pattern.h"
#include "gateway/test_gbnf.h"

namespace corpgrid::gateway {
namespace {

using ::testing::HasSubstr;

absl::StatusOr<TestGrammar> GrammarOf(const std::string& schema) {
  const Json json = Json::parse(schema);
  Gbnf grammar;
  ASSIGN_OR_RETURN(const std::string rule, SchemaGrammar(json, "schema", &grammar).Build());
  return TestGrammar(grammar.Text(rule));
}

void Expect(const std::string& schema, const std::vector<std::string>& good,
            const std::vector<std::string>& bad) {
  const auto grammar = GrammarOf(schema);
  ASSERT_TRUE(grammar.ok()) << schema << ": " << grammar.status();
  for (const std::string& text : good) {
    EXPECT_TRUE(grammar->Matches(text)) << text << " is of " << schema;
    EXPECT_TRUE(Json::accept(text)) << text;
  }
  for (const std::string& text : bad) EXPECT_FALSE(grammar->Matches(text)) << text << " " << schema;
}

void ExpectError(const std::string& schema, const std::string& part) {
  const auto grammar = GrammarOf(schema);
  ASSERT_FALSE(grammar.ok()) << schema;
  EXPECT_THAT(std::string(grammar.status().message()), HasSubstr(part)) << schema;
  EXPECT_EQ(HttpStatusOf(grammar.status()), 400u);
}

TEST(JsonSchemaTest, ObjectsHaveTheirPropertiesInOrder) {
  Expect(R"({"type": "object", "properties": {"a": {"type": "integer"}, "b": {"type": "boolean"},
             "c": {"type": "null"}}, "required": ["b"], "additionalProperties": false})",
         {R"({"b": true})", R"({"a":1,"b":false})", R"({"a": 1, "b": true, "c": null})",
          "{\n \"b\": true\n}", R"({"b":true,"c":null})"},
         {"{}", R"({"a":1})", R"({"b":true,"a":1})", R"({"b":true,})", R"({,"b":true})",
          R"({"b":true,"d":1})", R"({"b":1})", R"({"a":1 "b":true})"});
  Expect(R"({"type": "object", "properties": {"a": {}, "b": {}}})",
         {"{}", R"({"a":[1,{"x":"y"}]})", R"({"b":""})", R"({"a":null,"b":-1.5e3})"},
         {R"({"c":1})"});
  Expect(R"({"type": "object", "properties": {}})", {"{}", "{ }"}, {R"({"a":1})"});
  Expect(R"({"type": "object"})", {"{}", R"({"any": [{}]})"}, {"[]", "1"});
  Expect(R"({"type": "object", "additionalProperties": {"type": "integer"}})",
         {"{}", R"({"x":1,"y":2})"}, {R"({"x":"1"})"});
}

TEST(JsonSchemaTest, MorePropertiesAreOthersThanTheNamed) {
  Expect(R"({"type": "object", "properties": {"ab": {"type": "integer"}, "abc": {"type": "null"}},
             "required": ["ab"], "additionalProperties": {"type": "boolean"}})",
         {R"({"ab":1})", R"({"ab":1,"abc":null,"a":true})", R"({"ab":1,"abcd":true,"":false})",
          R"({"ab":1,"b":true})", R"({"ab":1,"ax":true})"},
         {R"({"ab":1,"ab":true})", R"({"ab":1,"abc":true})", R"({"ab":1,"\u0061b":true})",
          R"({"a":true})"});
}

TEST(JsonSchemaTest, ArraysHaveBounds) {
  Expect(R"({"type": "array", "items": {"type": "boolean"}, "minItems": 1, "maxItems": 3})",
         {"[true]", "[ true, false ]", "[true,true,true]"},
         {"[]", "[true,true,true,true]", "[1]", "[true,]"});
  Expect(R"({"type": "array", "maxItems": 0})", {"[]"}, {"[1]"});
  Expect(R"({"type": "array", "items": {"enum": [1, "x", null, {"a": [2]}]}})",
         {"[]", R"([1,"x",null,{"a":[2]}])"}, {"[2]"});
}

TEST(JsonSchemaTest, StringsHaveLengthsPatternsAndFormats) {
  Expect(R"({"type": "string", "minLength": 2, "maxLength": 3})",
         {R"("ab")", R"("a\n\"")", R"("\u00e9bc")"},
         {R"("a")", R"("abcd")", R"("a\)", R"("\ud800b")", "\"a\nb\""});
  Expect(R"({"type": "string", "pattern": "^[A-Z]{2}-(\\d+|x)[^y]?\"$"})",
         {R"("AB-12\"")", R"("AB-x\"")", R"("AB-1z\"")"},
         {R"("AB-12")", R"("aB-1\"")", R"("AB-xy\"")"});
  Expect(R"({"type": "string", "pattern": "^a.c|(?:\\\\w)*$"})",
         {R"("abc")", R"("\\w\\w")", R"("")"}, {R"("a"c")", R"("w")"});
  Expect(R"({"type": "string", "format": "date-time"})", {R"("2026-02-28T23:59:59Z")"},
         {R"("2026-13-01T00:00:00Z")", R"("2026-02-28")"});
  Expect(R"({"type": "string", "format": "ipv4"})", {R"("127.0.0.1")", R"("255.255.255.255")"},
         {R"("256.0.0.1")"});
  Expect(R"({"type": "string", "format": "email"})", {R"("a.b@example.org")"}, {R"("a@")"});
}

TEST(JsonSchemaTest, IntegerRangesAreExact) {
  std::mt19937 random(20260101);  // NOLINT(cert-msc51-cpp): the same each time
  for (int i = 0; i < 300; ++i) {
    const int64_t width = int64_t{1} << (random() % 20);
    const int64_t a = static_cast<int64_t>(random() % (2 * width)) - width;
    const int64_t b = a + static_cast<int64_t>(random() % (2 * width));
    const TestGrammar grammar("root ::= " + IntegerRange(a, b) + "\n");
    std::vector<int64_t> tries = {a - 1, a, a + 1, (a + b) / 2, b - 1, b, b + 1, -a, -b, 0, a * 10};
    for (int n = 0; n < 20; ++n)
      tries.push_back(a - width + static_cast<int64_t>(random() % (4 * width)));
    for (const int64_t value : tries) {
      EXPECT_EQ(grammar.Matches(std::to_string(value)), a <= value && value <= b)
          << value << " in " << a << " to " << b;
    }
    EXPECT_FALSE(grammar.Matches("-0"));
    EXPECT_FALSE(grammar.Matches("007"));
  }
  Expect(R"({"type": "integer", "minimum": 3, "exclusiveMaximum": 12})", {"3", "11"}, {"2", "12"});
  Expect(R"({"type": "integer", "exclusiveMinimum": -5})", {"-4", "999999"}, {"-5"});
  Expect(R"({"type": "integer"})", {"-0", "12"}, {"1.5", "01", "+1"});
  Expect(R"({"type": "number", "minimum": 0})", {"0", "1.5e2"}, {"-1"});
}

TEST(JsonSchemaTest, AlternativesAndTypesInLists) {
  Expect(R"({"anyOf": [{"type": "null"}, {"const": "x\"y"}]})", {"null", R"("x\"y")"}, {"1"});
  Expect(R"({"type": ["string", "null"], "maxLength": 1})", {"null", R"("a")"}, {R"("ab")"});
  Expect(R"({"type": "integer", "nullable": true, "maximum": 1, "minimum": 1})", {"1", "null"},
         {"2"});
  Expect("{}", {"1", "[{}]"}, {""});
}

TEST(JsonSchemaTest, ReferencesMayRecur) {
  Expect(R"({"$defs": {"node": {"type": "object", "properties": {"v": {"type": "integer"},
               "next": {"anyOf": [{"$ref": "#/$defs/node"}, {"type": "null"}]}},
               "required": ["v", "next"]}}, "$ref": "#/$defs/node"})",
         {R"({"v":1,"next":null})", R"({"v":1,"next":{"v":2,"next":{"v":3,"next":null}}})"},
         {R"({"v":1,"next":1})", R"({"v":1})"});
  Expect(R"({"type": "array", "items": {"$ref": "#"}})", {"[]", "[[],[[]]]"}, {"[1]"});
  ExpectError(R"({"$ref": "#/$defs/none"})", "which is not in this schema");
  ExpectError(R"({"$ref": "http://example.org/x"})", "which is not in this schema");
}

TEST(JsonSchemaTest, WhatIsNotSupportedIsNamed) {
  ExpectError(R"({"type": "object", "properties": {"a": {"type": "number", "multipleOf": 2}}})",
              "schema.properties.a has the keyword \"multipleOf\"");
  ExpectError(R"({"allOf": [{}]})", "allOf");
  ExpectError(R"({"type": "array", "uniqueItems": true})", "uniqueItems is not supported");
  ExpectError(R"({"type": "object", "patternProperties": {}})", "patternProperties");
  ExpectError(R"({"type": "string", "format": "hostname"})",
              "\"hostname\", which is not supported");
  ExpectError(R"({"type": "string", "pattern": "abc"})", "no ^ at its start");
  ExpectError(R"({"type": "string", "pattern": "^(?=a)b$"})", "a look-around");
  ExpectError(R"({"type": "string", "pattern": "^(a$"})", "a ( without its )");
  ExpectError(R"({"type": "string", "minLength": 5, "maxLength": 4})", "is more than maxLength");
  ExpectError(R"({"type": "thing"})", "no type of JSON");
  ExpectError(R"({"type": 5})", "name of a type");
  ExpectError(R"({"type": "object", "required": ["x"]})", "properties does not say anything of");
  ExpectError(R"({"type": "array", "items": false})", "one that something fits");
  ExpectError(R"({"type": ["string", "null"], "multipleOf": 2})", "multipleOf");
  ExpectError(R"({"type": ["array", "array"]})", "each once");
  std::string chain = R"({"$ref": "#/$defs/0", "$defs": {)";
  for (int i = 0; i < 5000; ++i) {
    chain += fmt::format(R"("{}": {{"items": {{"$ref": "#/$defs/{}"}}}}, )", i, i + 1);
  }
  ExpectError(chain + R"("5000": {}}})", "more than 200 deep");
  ExpectError(fmt::format(R"({{"properties": {{"{}": {{}}}}, "additionalProperties": true}})",
                          std::string(100'000, 'a')),
              "not plain, short ASCII");
  ExpectError(R"({"enum": []})", "enum has to be");
  ExpectError(R"({"type": "integer", "minimum": 5, "maximum": 4})", "no whole number");
}

}  // namespace
}  // namespace corpgrid::gateway
