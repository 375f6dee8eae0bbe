#include "gateway/tools.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>

#include "fmt/format.h"
#include "gateway/test_gbnf.h"
#include "gateway/tool_call_reader.h"

namespace corpgrid::gateway {
namespace {

using ::testing::HasSubstr;

constexpr char kTools[] = R"("tools": [
  {"type": "function", "function": {"name": "add", "parameters": {"type": "object",
    "properties": {"a": {"type": "integer"}}, "required": ["a"]}}},
  {"type": "function", "function": {"name": "now"}}])";

Tools Read(const std::string& more, absl::Status* status = nullptr) {
  const Json body =
      Json::parse("{" + (more.starts_with("!") ? more.substr(1) : kTools + more) + "}");
  Fields fields(body);
  Tools tools = ReadTools(&fields);
  const absl::Status finished = fields.Finish();
  if (status != nullptr) {
    *status = finished;
  } else {
    EXPECT_TRUE(finished.ok()) << finished;
  }
  return tools;
}

TestGrammar GrammarOf(const Tools& tools, const ToolFormat& format) {
  const auto grammar = ToolGrammar(tools, format);
  EXPECT_TRUE(grammar.ok()) << grammar.status();
  return TestGrammar(*grammar);
}

// With texts and others among what a function takes.
constexpr char kMoreTools[] = R"(!"tools": [
  {"type": "function", "function": {"name": "write", "parameters": {"type": "object",
    "properties": {"text": {"type": "string", "description": "what"}, "times": {"type": "integer"},
                   "how": {"enum": ["fast", "slow"]}, "to": {"$ref": "#/$defs/list"}},
    "required": ["text", "to"], "$defs": {"list": {"type": "array", "items": {"type": "null"}}}}}},
  {"type": "function", "function": {"name": "now"}}])";

const ToolFormat& Qwen() { return FormatOf("<tool_call> <function=x> <parameter=y>"); }
const ToolFormat& Hermes() { return FormatOf("… <tool_call> …"); }
const ToolFormat& Mistral() { return FormatOf("… [TOOL_CALLS] …"); }
const ToolFormat& MistralArgs() { return FormatOf("[TOOL_CALLS]f[ARGS]"); }
const ToolFormat& Llama() { return FormatOf("<|start_header_id|>ipython"); }
const ToolFormat& Generic() { return FormatOf("{{ messages }}"); }

TEST(ToolsTest, KnowsFamiliesByTheirTemplates) {
  EXPECT_EQ(Hermes().name, "hermes");
  EXPECT_EQ(Qwen().name, "qwen");
  EXPECT_EQ(Mistral().name, "mistral");
  EXPECT_EQ(MistralArgs().name, "mistral-args");
  EXPECT_EQ(Llama().name, "llama3");
  EXPECT_EQ(Generic().name, "generic");
}

TEST(ToolsTest, GrammarsTakeCallsAndTexts) {
  const std::string one = R"({"name": "add", "arguments": {"a":1}})";
  const std::string call = "<tool_call>\n" + one + "\n</tool_call>";
  const TestGrammar automatic = GrammarOf(Read(""), Hermes());
  for (const std::string& text :
       {std::string(), std::string("hello"), std::string("a < b <tool"), std::string("<<tool_call"),
        call, "Let me see. " + call, call + "\n" + call, "<tool_cal<" + call}) {
    EXPECT_TRUE(automatic.Matches(text)) << text;
  }
  for (const std::string& text : {std::string("<tool_call>"), "x<tool_call>" + one, call + "x",
                                  std::string("<<tool_call>>")}) {
    EXPECT_FALSE(automatic.Matches(text)) << text;
  }
  const TestGrammar required = GrammarOf(Read(R"(, "tool_choice": "required")"), Hermes());
  EXPECT_TRUE(required.Matches(call));
  EXPECT_FALSE(required.Matches("hello"));
  const TestGrammar single = GrammarOf(Read(R"(, "parallel_tool_calls": false)"), Hermes());
  EXPECT_TRUE(single.Matches(call));
  EXPECT_FALSE(single.Matches(call + "\n" + call));
  const TestGrammar named = GrammarOf(
      Read(R"(, "tool_choice": {"type": "function", "function": {"name": "now"}})"), Hermes());
  EXPECT_TRUE(named.Matches("<tool_call>\n{\"name\": \"now\", \"arguments\": {}}\n</tool_call>"));
  EXPECT_FALSE(named.Matches(call));
}

TEST(ToolsTest, WhereCallsAreTheWholeAnswerTextMayNotBeginLikeThem) {
  const TestGrammar llama = GrammarOf(Read(""), Llama());
  EXPECT_TRUE(llama.Matches(R"({"name": "add", "parameters": {"a":1}})"));
  EXPECT_TRUE(llama.Matches(R"(no {"name" here)"));
  EXPECT_TRUE(llama.Matches(R"({"nam)"));
  EXPECT_TRUE(llama.Matches(R"({"x": 1})"));
  EXPECT_FALSE(llama.Matches(R"({"name": "other"})"));
  const TestGrammar generic = GrammarOf(Read(""), Generic());
  EXPECT_TRUE(generic.Matches(
      R"({"tool_calls": [{"name": "add", "arguments": {"a":1}}, {"name": "now", "arguments": {}}]})"));
  EXPECT_TRUE(generic.Matches("hello"));
  EXPECT_FALSE(generic.Matches(R"({"tool_calls": []})"));
}

struct Call {
  std::string name, arguments;
  bool operator==(const Call&) const = default;
};

// Reads an answer in random pieces.
void ExpectRead(const ToolFormat& format, const std::string& answer, const std::string& text,
                const std::vector<Call>& calls, bool must_call = false) {
  Tools tools = Read(kMoreTools);
  if (must_call) tools.choice = Tools::Choice::kRequired;
  std::mt19937 random(1);  // NOLINT(cert-msc51-cpp): the same each time
  for (int turn = 0; turn < 100; ++turn) {
    ToolCallReader reader(format, tools);
    std::string got_text;
    std::vector<Call> got;
    const auto take = [&](const std::vector<ToolCallReader::Part>& parts) {
      for (const auto& part : parts) {
        if (part.kind == ToolCallReader::Part::Kind::kText) got_text += part.text;
        if (part.kind == ToolCallReader::Part::Kind::kName) got.push_back({part.text, ""});
        if (part.kind == ToolCallReader::Part::Kind::kArguments) {
          EXPECT_EQ(part.call + 1, got.size());
          got.back().arguments += part.text;
        }
      }
    };
    for (size_t at = 0; at < answer.size();) {
      const size_t size = turn == 0 ? answer.size() : 1 + random() % 7;
      take(reader.Push(std::string_view(answer).substr(at, size)));
      at += size;
    }
    take(reader.Finish());
    EXPECT_EQ(got_text, text);
    EXPECT_EQ(got, calls);
    EXPECT_EQ(reader.calls(), calls.size());
  }
}

TEST(ToolCallReaderTest, TellsTextAndCallsApart) {
  const std::string tricky = R"({"a":"}\"</tool_call>{[","b":[{}]})";
  ExpectRead(Hermes(),
             "Wait <tool. <tool_call>\n{\"name\": \"add\", \"arguments\": " + tricky +
                 "}\n</tool_call>\n<tool_call>\n{\"name\": \"now\", \"arguments\": "
                 "{}}\n</tool_call>",
             "Wait <tool. ", {{"add", tricky}, {"now", "{}"}});
  ExpectRead(Hermes(), "a < b <tool_call", "a < b <tool_call", {});
  ExpectRead(Mistral(),
             "[TOOL_CALLS][{\"name\": \"a\", \"arguments\": {}}, {\"name\": \"b\", "
             "\"arguments\": {\"x\":1}}]",
             "", {{"a", "{}"}, {"b", R"({"x":1})"}});
  ExpectRead(MistralArgs(), R"(Hi[TOOL_CALLS]a[ARGS]{}[TOOL_CALLS]b-2[ARGS]{"x":1})", "Hi",
             {{"a", "{}"}, {"b-2", R"({"x":1})"}});
  ExpectRead(Llama(), R"({"name": "add", "parameters": {"a":1}})", "", {{"add", R"({"a":1})"}});
  ExpectRead(Llama(), R"({"names": 1} {"name")", R"({"names": 1} {"name")", {});
  ExpectRead(Generic(), R"({"tool_calls": [{"name": "a", "arguments": {}}]})", "", {{"a", "{}"}});
  // Cut off by max_tokens.
  ExpectRead(Hermes(), "<tool_call>\n{\"name\": \"add\", \"arguments\": {\"a\":", "",
             {{"add", "{\"a\":"}});
  ExpectRead(Hermes(), "<tool_call>\n{\"na", "", {});
  // So early that it cannot be told from a text, where it may be one.
  ExpectRead(Hermes(), "<tool_", "<tool_", {});
  ExpectRead(Hermes(), "<tool_", "", {}, /*must_call=*/true);
  ExpectRead(Llama(), R"({"name": "add", "parameters": {"a":1}})", "", {{"add", R"({"a":1})"}},
             /*must_call=*/true);
}

std::string Tag(const std::string& name, const std::string& value) {
  return fmt::format("<parameter={}>\n{}\n</parameter>\n", name, value);
}

std::string QwenCall(const std::string& name, const std::string& tags) {
  return fmt::format("<tool_call>\n<function={}>\n{}</function>\n</tool_call>", name, tags);
}

TEST(ToolsTest, NewerQwensPutArgumentsInTags) {
  const Tools tools = Read(kMoreTools);
  const TestGrammar grammar = GrammarOf(tools, Qwen());
  const std::string text = Tag("text", "a \"b\"\n</parameter>c\n\n</parameter"),
                    to = Tag("to", "[null]");
  for (const std::string& good :
       {QwenCall("write", text + to),
        "First: " + QwenCall("now", "") + "\n" + QwenCall("write", text + to),
        QwenCall("write", Tag("text", "") + Tag("times", "5") + Tag("how", "fast") + to)}) {
    EXPECT_TRUE(grammar.Matches(good)) << good;
  }
  for (const std::string& bad :
       {QwenCall("write", to), QwenCall("write", text), QwenCall("write", to + text),
        QwenCall("write", text + Tag("times", "x") + to),
        QwenCall("write", text + Tag("how", "\"fast\"") + to),
        QwenCall("write", text + to) + " and", QwenCall("read", ""), QwenCall("now", to)}) {
    EXPECT_FALSE(grammar.Matches(bad)) << bad;
  }
  const TestGrammar free = GrammarOf(Read(R"(!"tools": [{"type": "function", "function": {"name":
      "label", "parameters": {"type": "object", "additionalProperties": {"type": "integer"}}}}])"),
                                     Qwen());
  EXPECT_TRUE(free.Matches(QwenCall("label", Tag("a", "1") + Tag("b-2", "20"))));
  EXPECT_FALSE(free.Matches(QwenCall("label", Tag("a", "x"))));
  const auto error = [](const std::string& schema) {
    return std::string(ToolGrammar(Read(R"(!"tools": [{"type": "function", "function": {"name": "a",
              "parameters": {"type": "object", )" +
                                        schema + "}}}]"),
                                   Qwen())
                           .status()
                           .message());
  };
  EXPECT_THAT(error(R"("anyOf": [])"), HasSubstr("parameters.anyOf"));
  EXPECT_THAT(error(R"("properties": {"a>": {}})"), HasSubstr("stands in a tag"));
  EXPECT_THAT(error(R"("properties": {"a": {"not": {}}})"), HasSubstr("keyword \"not\""));
}

TEST(ToolCallReaderTest, MakesJsonOfTags) {
  const std::string text = "say \"hi\"\n</parameter> \\ \xC3\xA9\t<";
  const std::string json = R"({"text": "say \"hi\"\n</parameter> \\ )"
                           "\xC3\xA9"
                           R"(\u0009<", "how": "fast", "to": [null]})";
  ExpectRead(
      Qwen(),
      "So: " + QwenCall("write", Tag("text", text) + Tag("how", "fast") + Tag("to", "[null]")) +
          "\n" + QwenCall("now", ""),
      "So: ", {{"write", json}, {"now", "{}"}});
  ExpectRead(Qwen(), QwenCall("write", Tag("text", "") + Tag("to", "[]")), "",
             {{"write", R"({"text": "", "to": []})"}}, /*must_call=*/true);
  // Cut off by max_tokens.
  ExpectRead(Qwen(), "<tool_call>\n<function=write>\n<parameter=text>\nab", "",
             {{"write", R"({"text": "ab)"}});
  ExpectRead(Qwen(), "<tool_call>\n<function=write>\n<param", "", {{"write", ""}});
  // What no grammar allows ends, however it goes on.
  ExpectRead(Qwen(), QwenCall("other", Tag("a", "1") + "what else"), "",
             {{"other", R"({"a": 1})"}});
}

TEST(ToolsTest, WrongToolsAreNamed) {
  const auto error = [](const std::string& text) {
    absl::Status status;
    Read(text, &status);
    return std::string(status.message());
  };
  EXPECT_THAT(error(R"(, "tool_choice": "must")"), HasSubstr("tool_choice is \"must\""));
  EXPECT_THAT(error(R"(!"tool_choice": "required")"), HasSubstr("there are no tools"));
  EXPECT_THAT(error(R"(, "tool_choice": {"type": "function", "function": {"name": "x"}})"),
              HasSubstr("not among the tools"));
  EXPECT_THAT(error(R"(!"tools": [{"type": "function", "function": {"name": "a b"}}])"),
              HasSubstr("tools[0].function.name has to be"));
  EXPECT_THAT(error(R"(!"tools": [{"type": "web_search"}])"), HasSubstr("tools[0].type is"));
  EXPECT_THAT(error(R"(!"tools": [1])"), HasSubstr("tools[0] has to be an object, not 1"));
  for (const char* schema :
       {R"({"type": "string"})", R"({"type": ["object", "null"]})",
        R"({"type": "object", "nullable": true})", R"({"enum": ["a"]})", R"({"const": 1})"}) {
    EXPECT_THAT(error(fmt::format(R"(!"tools": [{{"type": "function", "function": {{"name": "a",
                                      "parameters": {}}}}}])",
                                  schema)),
                HasSubstr("tools[0].function.parameters has to be a schema of the type"));
  }
  const Tools either = Read(R"(!"tools": [{"type": "function", "function": {"name": "a",
                                   "parameters": {"anyOf": [{"type": "string"}]}}}])");
  EXPECT_FALSE(ToolGrammar(either, Hermes()).ok());
  const auto grammar = ToolGrammar(Read(R"(!"tools": [{"type": "function", "function": {"name": "a",
              "parameters": {"type": "object", "allOf": []}}}])"),
                                   Hermes());
  EXPECT_THAT(std::string(grammar.status().message()),
              HasSubstr("tools[0].function.parameters has the keyword \"allOf\""));
}

}  // namespace
}  // namespace corpgrid::gateway
