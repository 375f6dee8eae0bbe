// What requests may say, and what is wrong with the others.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "fmt/format.h"
#include "gateway/api_error.h"
#include "gateway/chat_request.h"
#include "gateway/completion_request.h"

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
