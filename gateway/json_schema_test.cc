#include <string>

#include "fmt/format.h"
#include "gateway/test_json_schema.h"

namespace corpgrid::gateway {
namespace {

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
  std::string many = "[1";
  for (int i = 0; i < 999; ++i) many += ",1";
  Expect(R"({"type": "array", "items": {"const": 1}, "maxItems": 9007199254740991})",
         {"[]", many + "]"}, {many + ",1]"});
}

TEST(JsonSchemaTest, TuplesHaveTheirLength) {
  const std::vector<std::string> good = {R"([1,"a"])", R"([ 1, "" ])"};
  const std::vector<std::string> bad = {"[]", "[1]", R"(["a",1])", R"([1,"a",2])", R"([1,"a",])"};
  for (const char* more : {"", R"(, "items": false)", R"(, "minItems": 2, "maxItems": 2)",
                           R"(, "items": {"type": "null"}, "maxItems": 2)"}) {
    Expect(fmt::format(R"({{"type": "array", "prefixItems": [{{"type": "integer"}},
                            {{"type": "string"}}]{}}})",
                       more),
           good, bad);
  }
  Expect(R"({"prefixItems": [{"const": 1}]})", {"[1]"}, {"[]", "[1,1]"});
  ExpectError(R"({"prefixItems": [{}], "items": {}})", "items can only be false");
  ExpectError(R"({"prefixItems": [{}], "minItems": 2})", "may not have as many");
  ExpectError(R"({"prefixItems": [{}, {}], "maxItems": 1})", "may not have as many");
  ExpectError(R"({"prefixItems": []})", "has to be a list of schemas");
  ExpectError(R"({"prefixItems": [{}, {"type": "x"}]})", "schema.prefixItems[1].type is \"x\"");
}

TEST(JsonSchemaTest, AlternativesAndTypesInLists) {
  Expect(R"({"anyOf": [{"type": "null"}, {"const": "x\"y"}]})", {"null", R"("x\"y")"}, {"1"});
  Expect(R"({"type": ["string", "null"], "maxLength": 1})", {"null", R"("a")"}, {R"("ab")"});
  Expect(R"({"type": "integer", "nullable": true, "maximum": 1, "minimum": 1})", {"1", "null"},
         {"2"});
  Expect("{}", {"1", "[{}]"}, {""});
  Expect(R"({"type": ["array", "integer", "null"], "items": {"type": ["string", "null"],
             "nullable": false, "maxLength": 1}, "minimum": 3})",
         {"null", "3", R"(["a",null])"}, {"2", R"(["ab"])", R"("a")"});
  ExpectError(R"({"type": ["string", "null"], "enum": ["ab"], "maxLength": 1})", "maxLength");
}

TEST(JsonSchemaTest, ValuesAreOfTheType) {
  Expect(R"({"type": "integer", "enum": [1, "a", 2.0, 2.5, null]})", {"1", "2.0"},
         {R"("a")", "2.5", "null"});
  Expect(R"({"type": ["string", "null"], "enum": ["a", null, true]})", {R"("a")", "null"},
         {"true"});
  Expect(R"({"type": "object", "const": {"a": 1}})", {R"({"a":1})"}, {"{}"});
  ExpectError(R"({"type": "string", "const": 1})", "has nothing of its type");
  ExpectError(R"({"type": "text", "enum": ["a"]})", "has nothing of its type");
}

TEST(JsonSchemaTest, AllOfMayHaveOneSchema) {
  Expect(R"({"$defs": {"x": {"const": 1}}, "allOf": [{"$ref": "#/$defs/x"}], "description": "d"})",
         {"1"}, {"2"});
  Expect(R"({"allOf": [{"const": 1}], "nullable": true})", {"1", "null"}, {"2"});
  ExpectError(R"({"allOf": [{}, {}]})", "allOf can only be a list of one schema");
  ExpectError(R"({"allOf": []})", "allOf can only be a list of one schema");
  ExpectError(R"({"allOf": [{}], "minLength": 1})", "minLength");
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
  ExpectError(R"({"type": "object", "allOf": [{}]})", "allOf");
  ExpectError(R"({"type": "array", "uniqueItems": true})", "uniqueItems is not supported");
  ExpectError(R"({"type": "object", "patternProperties": {}})", "patternProperties");
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
}

// All that is more than a worker takes is an error, before it has become much more.
TEST(JsonSchemaTest, AlternativesOfAlternativesHaveABound) {
  std::string schemas = R"("a15": {"type": "null"})";
  for (int i = 0; i < 15; ++i) {
    const std::string next = fmt::format(R"({{"$ref": "#/$defs/a{}"}})", i + 1);
    schemas += fmt::format(R"(, "a{}": {{"anyOf": [{}, {}, {}]}})", i, next, next, next);
  }
  ExpectError(fmt::format(R"({{"$ref": "#/$defs/a0", "$defs": {{{}}}}})", schemas),
              "schema cannot be followed");
  ExpectError(R"({"$ref": "#"})", "begins with itself");
  ExpectError(R"({"anyOf": [{"type": "null"}, {"$ref": "#"}]})", "begins with itself");
}

TEST(JsonSchemaTest, GrammarsHaveABound) {
  const auto object = [](int names, int letters, const char* more) {
    std::string properties;
    for (int i = 0; i < names; ++i) {
      properties += fmt::format(R"({}"{:04}{}": {{}})", i == 0 ? "" : ", ", i,
                                std::string(static_cast<size_t>(letters), 'x'));
    }
    return fmt::format(R"({{"properties": {{{}}}{}}})", properties, more);
  };
  const std::string part = "schema makes a grammar of more than 64 KiB";
  const char* open = R"(, "additionalProperties": {"type": "null"})";
  ExpectError(object(3000, 246, open), part);
  ExpectError(object(3000, 246, ""), part);
  ExpectError(object(200, 240, open), part);  // the letters alone would fit
  ExpectError(object(1, 100'000, ""), part);
  ExpectError(fmt::format(R"({{"enum": ["{}"]}})", std::string(100'000, 'x')), part);
  Expect(object(50, 4, open), {"{}", R"({"0000xxxx": 1, "0049xxxx": 2, "0050xxxx": null})"},
         {R"({"0049xxxx": 2, "0049xxxx": null})", R"({"0050xxxx": 1})"});
  std::string list = R"({"type": "null"})";
  for (int i = 0; i < 5000; ++i) list += R"(, {"type": "null"})";
  ExpectError(fmt::format(R"({{"anyOf": [{}]}})", list), part);
  ExpectError(fmt::format(R"({{"prefixItems": [{}]}})", list), part);
}

}  // namespace
}  // namespace corpgrid::gateway
