// What requests may say, and what is wrong with the others.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "fmt/format.h"
#include "gateway/api_error.h"
#include "gateway/chat_request.h"
#include "gateway/completion_request.h"
#include "gateway/response_request.h"

namespace corpgrid::gateway {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;

constexpr char kChat[] = R"({"model": "m", "messages": [{"role": "user", "content": "hi"}])";

absl::StatusOr<ChatRequest> Chat(const std::string& more) {
  const absl::StatusOr<Json> body = ParseObject(kChat + more + "}");
  EXPECT_TRUE(body.ok()) << body.status();
  return ParseChatRequest(*body);
}

TEST(ParseObjectTest, RefusesWhatIsNoObject) {
  const auto error = [](const std::string& text) {
    return std::string(ParseObject(text).status().message());
  };
  EXPECT_THAT(error(""), HasSubstr("no JSON"));
  EXPECT_THAT(error("[1]"), HasSubstr("no JSON object"));
  EXPECT_THAT(error("{\"a\": \"\x80\"}"), HasSubstr("no JSON"));
  EXPECT_THAT(error(R"({"a": "\ud800"})"), HasSubstr("no JSON"));
  EXPECT_THAT(error(std::string(100'000, '[')), HasSubstr("more than 64 deep"));
  std::string deep = R"({"a":)";
  EXPECT_THAT(error(deep.append(100'000, '{')), HasSubstr("more than 64 deep"));
  EXPECT_TRUE(ParseObject(R"({"a": "[[[[\"{{{{"})").ok());
}

// Each key is compared with all before: a million kept a thread for minutes.
TEST(ParseObjectTest, RefusesObjectsOfVeryManyMembers) {
  const auto object = [](int members) {
    std::string text = "{";
    for (int i = 0; i < members; ++i) text += fmt::format(R"({}"{}":":")", i == 0 ? "" : ",", i);
    return text + "}";
  };
  EXPECT_TRUE(ParseObject(object(5000)).ok());
  EXPECT_THAT(std::string(ParseObject(object(100'000)).status().message()),
              HasSubstr("an object of 10001 members"));
  std::string many = R"({"a": [{})";
  for (int i = 0; i < 5; ++i) many += "," + object(5000);
  EXPECT_THAT(std::string(ParseObject(many + "]}").status().message()), HasSubstr("too many"));
}

TEST(ChatRequestTest, FillsInWhatTheWorkerIsAsked) {
  const auto request = Chat(R"(, "temperature": 0.5, "top_p": 0.25, "top_k": 3, "min_p": 0.125,
      "presence_penalty": -2, "frequency_penalty": 1, "seed": -1, "n": 2, "stop": ["a", "b"],
      "max_tokens": 7, "logprobs": true, "top_logprobs": 5, "logit_bias": {"5": -100, "6": 1},
      "stream": true, "stream_options": {"include_usage": true}, "user": "u", "metadata": {"a": "b"})");
  ASSERT_TRUE(request.ok()) << request.status();
  const auto& sampling = request->generate.sampling();
  EXPECT_EQ(sampling.temperature(), 0.5);
  EXPECT_EQ(sampling.top_p(), 0.25);
  EXPECT_EQ(sampling.top_k(), 3u);
  EXPECT_EQ(sampling.min_p(), 0.125);
  EXPECT_EQ(sampling.presence_penalty(), -2);
  EXPECT_EQ(sampling.frequency_penalty(), 1);
  EXPECT_EQ(sampling.seed(), UINT64_MAX);
  EXPECT_EQ(sampling.top_logprobs(), 5u);
  ASSERT_EQ(sampling.logit_bias_size(), 2);
  EXPECT_EQ(sampling.logit_bias(0).token(), 5);
  EXPECT_EQ(sampling.logit_bias(0).bias(), -100);
  EXPECT_EQ(request->generate.choices(), 2u);
  EXPECT_EQ(request->generate.max_tokens(), 7u);
  EXPECT_EQ(request->generate.stop_size(), 2);
  EXPECT_TRUE(request->stream && request->include_usage && request->logprobs);
  const auto plain = Chat(R"(, "temperature": null, "stop": null)");
  ASSERT_TRUE(plain.ok()) << plain.status();
  EXPECT_EQ(plain->generate.sampling().temperature(), 1);
  EXPECT_EQ(plain->generate.choices(), 1u);
  EXPECT_FALSE(plain->generate.sampling().has_seed());
}

TEST(ChatRequestTest, WritesMessagesAsTemplatesKnowThem) {
  const absl::StatusOr<Json> body = ParseObject(R"({"model": "m", "messages": [
      {"role": "developer", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]},
      {"role": "assistant", "content": null, "refusal": null, "tool_calls": [
        {"id": "1", "type": "function", "function": {"name": "f", "arguments": "{\"x\": 1}"}}]},
      {"role": "tool", "tool_call_id": "1", "content": "2"}]})");
  ASSERT_TRUE(body.ok());
  const auto request = ParseChatRequest(*body);
  ASSERT_TRUE(request.ok()) << request.status();
  EXPECT_EQ(request->messages,
            R"([{"role":"system","content":"ab"},{"role":"assistant","content":"","tool_calls":)"
            R"([{"id":"1","type":"function","function":{"name":"f","arguments":"{\"x\": 1}"}}]},)"
            R"({"role":"tool","content":"2","tool_call_id":"1"}])");
}

TEST(ChatRequestTest, NamesTheFieldThatIsWrong) {
  const auto expect = [](const std::string& more, const std::string& start) {
    const auto request = Chat(more);
    ASSERT_FALSE(request.ok()) << more;
    EXPECT_THAT(std::string(request.status().message()), StartsWith(start)) << more;
    EXPECT_EQ(HttpStatusOf(request.status()), 400u);
  };
  expect(R"(, "temperature": 2.1)", "temperature is 2.1; it may be from 0 to 2");
  expect(R"(, "temperature": "1")", "temperature has to be a number, not \"1\"");
  expect(R"(, "n": 1.5)", "n has to be a whole number, not 1.5");
  expect(R"(, "n": 1e300)", "n is 1e+300");
  expect(R"(, "n": 65)", "n is 65; it may be from 1 to 64");
  expect(R"(, "seed": 18446744073709551615)", "seed is 18446744073709551615");
  expect(R"(, "seed": 9223372036854775808.0)", "seed is 9.22337203685477");  // as a double 2^63 - 1
  expect(R"(, "seed": -9223372036854777856.0)", "seed is -9.22337203685477");
  expect(R"(, "max_tokens": 0)", "max_tokens is 0");
  expect(R"(, "max_tokens": 1, "max_completion_tokens": 2)", "max_tokens is not the same");
  expect(R"(, "stop": "")", "stop has to be a text of 1");
  expect(R"(, "logit_bias": {"-1": 1})", "logit_bias has \"-1\": 1");
  expect(R"(, "logit_bias": {"1": 101})", "logit_bias has \"1\": 101");
  expect(R"(, "logit_bias": [1])", "logit_bias has to be an object, not a list");
  expect(R"(, "top_logprobs": 1)", "top_logprobs needs logprobs");
  expect(R"(, "stream": 1)", "stream has to be true or false, not 1");
  expect(R"(, "stream_options": {})", "stream_options needs stream");
  expect(R"(, "temperatur": 1)", "temperatur is not known here; did you mean temperature?");
  expect(R"(, "response_format": {"type": "xml"})", "response_format.type is \"xml\"");
  expect(R"(, "response_format": {"type": "json_schema"})",
         "response_format.json_schema is missing");
  expect(R"(, "response_format": {"type": "json_object"}, "tools": [{"type": "function",
            "function": {"name": "f"}}])",
         "response_format other than text");
  expect(R"(, "functions": [])", "functions is not known here");
  expect(R"(, "user": 5)", "user has to be a string, not 5");
  expect(R"(, "safety_identifier": {})", "safety_identifier has to be a string");
  expect(R"(, "prompt_cache_key": true)", "prompt_cache_key has to be a string");
  expect(R"(, "metadata": "a")", "metadata has to be an object, not \"a\"");
  expect(R"(, "metadata": {"a": "b", "c": 1})", "metadata has to be an object whose values are");
}

TEST(ChatRequestTest, TakesAllThatFits64Bits) {
  for (const char* seed : {"-9223372036854775808", "-9223372036854775808.0"}) {
    const auto request = Chat(fmt::format(R"(, "seed": {})", seed));
    ASSERT_TRUE(request.ok()) << request.status();
    EXPECT_EQ(request->generate.sampling().seed(), uint64_t{1} << 63) << seed;
  }
  const auto most = Chat(R"(, "seed": 9223372036854775807)");
  ASSERT_TRUE(most.ok()) << most.status();
  EXPECT_EQ(most->generate.sampling().seed(), (uint64_t{1} << 63) - 1);
}

absl::StatusOr<ResponseRequest> Respond(const std::string& more) {
  const absl::StatusOr<Json> body = ParseObject(R"({"model": "m")" + more + "}");
  EXPECT_TRUE(body.ok()) << body.status();
  return ParseResponseRequest(*body);
}

TEST(ResponseRequestTest, TakesOutputsInParts) {
  const std::string call = R"(, "input": [{"role": "user", "content": "hi"},
      {"type": "function_call", "call_id": "1", "name": "f", "arguments": "{}"},
      {"type": "function_call_output", "call_id": "1", "output": )";
  const auto parts = Respond(call + R"([{"type": "input_text", "text": "a"},
                                        {"type": "input_text", "text": "b"}]}])");
  ASSERT_TRUE(parts.ok()) << parts.status();
  const auto text = Respond(call + R"("ab"}])");
  ASSERT_TRUE(text.ok()) << text.status();
  EXPECT_THAT(parts->chat.messages,
              HasSubstr(R"({"role":"tool","content":"ab","tool_call_id":"1"})"));
  EXPECT_EQ(parts->chat.messages, text->chat.messages);
  const auto error = [&](const std::string& output) {
    return std::string(Respond(call + output + "}]").status().message());
  };
  EXPECT_THAT(error("5"), StartsWith("input[2].output has to be a string or a list of parts"));
  EXPECT_THAT(error("null"), StartsWith("input[2].output is missing"));
  EXPECT_THAT(error(R"([{"type": "input_image", "image_url": "x"}])"), HasSubstr("input_image"));
}

// It threw, and the connection ended without an answer.
TEST(ResponseRequestTest, ACallAfterCallsThatAreNoListIsAnError) {
  const auto request = Respond(R"(, "input": [
      {"role": "assistant", "tool_calls": 5},
      {"type": "function_call", "call_id": "1", "name": "f", "arguments": "{}"},
      {"type": "function_call_output", "call_id": "1", "output": ""}])");
  EXPECT_THAT(std::string(request.status().message()), HasSubstr("tool_calls has to be a list"));
}

TEST(ResponseRequestTest, TakesWhatAsksForTheUsual) {
  for (const char* usual :
       {R"("reasoning": {})", R"("reasoning": null)",
        R"("reasoning": {"effort": null, "summary": null})", R"("text": {"verbosity": "medium"})",
        R"("text": {"verbosity": null, "format": {"type": "text"}})", R"("max_tool_calls": 5)"}) {
    const auto request = Respond(fmt::format(R"(, "input": "hi", {})", usual));
    EXPECT_TRUE(request.ok()) << usual << ": " << request.status();
  }
  const auto expect = [](const std::string& more, const std::string& start) {
    const absl::Status status = Respond(R"(, "input": "hi", )" + more).status();
    EXPECT_THAT(std::string(status.message()), StartsWith(start)) << more;
    EXPECT_EQ(HttpStatusOf(status), 400u);
  };
  expect(R"("reasoning": {"effort": "high"})", "reasoning.effort can only be null here");
  expect(R"("reasoning": {"summary": "auto"})", "reasoning.summary can only be null here");
  expect(R"("reasoning": {"depth": 1})", "reasoning.depth is not known here");
  expect(R"("reasoning": "high")", "reasoning has to be an object");
  expect(R"("text": {"verbosity": "low"})", "text.verbosity is \"low\"");
  expect(R"("max_tool_calls": "5")", "max_tool_calls has to be a whole number");
  expect(R"("metadata": {"a": 1})", "metadata has to be");
  expect(R"("user": ["a"])", "user has to be a string");
}

TEST(CompletionRequestTest, ReadsPrompts) {
  const auto prompts = [](const std::string& prompt) -> std::string {
    const absl::StatusOr<Json> body = ParseObject(R"({"model": "m", "prompt": )" + prompt + "}");
    if (!body.ok()) return "no body";
    const auto request = ParseCompletionRequest(*body);
    if (!request.ok()) return std::string(request.status().message());
    std::string all;
    for (const Prompt& one : request->prompts) {
      const auto* text = std::get_if<std::string>(&one);
      all += text != nullptr ? "\"" + *text + "\"" : fmt::format("{}", std::get<1>(one).size());
    }
    return all;
  };
  EXPECT_EQ(prompts(R"("a")"), R"("a")");
  EXPECT_EQ(prompts(R"(["a", "b"])"), R"("a""b")");
  EXPECT_EQ(prompts("[1, 2, 3]"), "3");
  EXPECT_EQ(prompts("[[1], [2, 3]]"), "12");
  for (const char* wrong :
       {"[]", "5", "[[]]", "[1, \"a\"]", "[-1]", "[1.5]", "[3000000000]", "{\"a\": 1}", "[null]"}) {
    EXPECT_THAT(prompts(wrong), StartsWith("prompt has")) << wrong;
  }
  EXPECT_EQ(prompts("null"), "prompt is missing");
}

TEST(CompletionRequestTest, UserIsAString) {
  const absl::StatusOr<Json> body = ParseObject(R"({"model": "m", "prompt": "a", "user": 5})");
  ASSERT_TRUE(body.ok());
  EXPECT_EQ(ParseCompletionRequest(*body).status().message(), "user has to be a string, not 5");
}

TEST(ApiErrorTest, HasTheApisForm) {
  const absl::Status status =
      WithRetryAfter(ApiError(absl::StatusCode::kResourceExhausted, "too \"many\"", "n", ""), 7);
  EXPECT_EQ(HttpStatusOf(status), 429u);
  EXPECT_EQ(RetryAfter(status), 7);
  EXPECT_EQ(ErrorJson(status),
            R"({"error":{"message":"too \"many\"","type":"rate_limit_error","param":"n",)"
            R"("code":"rate_limit_exceeded"}})");
  EXPECT_EQ(ErrorJson(404, "no such path"),
            R"({"error":{"message":"no such path","type":"invalid_request_error","param":null,)"
            R"("code":null}})");
}

}  // namespace
}  // namespace corpgrid::gateway
