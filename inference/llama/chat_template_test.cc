#include "inference/llama/chat_template.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace corpgrid::inference {
namespace {

using ::testing::HasSubstr;

// The shape that Qwen's and many other models' templates have.
constexpr char kChatMl[] =
    "{%- for message in messages %}"
    "{%- if loop.first and message.role != 'system' %}{{ '<|im_start|>system\\nBe "
    "kind.<|im_end|>\\n' "
    "}}{%- endif %}"
    "{{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>' + '\\n' }}"
    "{%- endfor %}"
    "{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{%- endif %}";

std::string Render(const std::string& source, const Chat& chat) {
  const auto parsed = ChatTemplate::Parse(source, "<s>", "</s>");
  if (!parsed.ok()) return std::string(parsed.status().message());
  const auto text = parsed->Render(chat);
  return text.ok() ? *text : std::string(text.status().message());
}

TEST(ChatTemplateTest, WritesAConversationAsTheModelWantsIt) {
  Chat chat;
  chat.messages = R"([{"role": "user", "content": "Hello <there>"},
                      {"role": "assistant", "content": "Hi"}, {"role": "user", "content": "ü?"}])";
  EXPECT_EQ(Render(kChatMl, chat),
            "<|im_start|>system\nBe kind.<|im_end|>\n<|im_start|>user\nHello <there><|im_end|>\n"
            "<|im_start|>assistant\nHi<|im_end|>\n<|im_start|>user\nü?<|im_end|>\n"
            "<|im_start|>assistant\n");
  chat.begins_answer = false;
  EXPECT_THAT(Render(kChatMl, chat), ::testing::EndsWith("ü?<|im_end|>\n"));
  EXPECT_EQ(Render("{{ bos_token }}{{ messages[0].content }}{{ eos_token }}{{ mood }}",
                   {.messages = R"([{"role": "user", "content": "x"}])",
                    .tools = "",
                    .variables = R"({"mood": "calm"})"}),
            "<s>x</s>calm");
}

TEST(ChatTemplateTest, ToolsReachTheTemplate) {
  Chat chat;
  chat.messages = R"([{"role": "user", "content": "What time is it?"}])";
  chat.tools = R"([{"type": "function", "function": {"name": "clock", "parameters": {}}}])";
  EXPECT_THAT(Render("{% for tool in tools %}{{ tool.function.name }};{% endfor %}", chat),
              HasSubstr("clock;"));
  // Where the template knows of no tools, they are told to the model in words.
  EXPECT_THAT(Render(kChatMl, chat), HasSubstr("\"clock\""));
}

TEST(ChatTemplateTest, SaysWhatIsWrong) {
  const auto with = [](const std::string& messages) { return Chat{messages, "", "", true}; };
  EXPECT_THAT(Render(kChatMl, with("")), HasSubstr("messages is empty"));
  EXPECT_THAT(Render(kChatMl, with("[]")), HasSubstr("messages is empty"));
  EXPECT_THAT(Render(kChatMl, with("{")), HasSubstr("messages is no JSON list"));
  EXPECT_THAT(Render(kChatMl, with("{\"a\": 1}")), HasSubstr("messages is no JSON list"));
  EXPECT_THAT(Render(kChatMl, with("[1]")), HasSubstr("without a \"role\""));
  EXPECT_THAT(Render(kChatMl, with(std::string(20'000, '['))), HasSubstr("nested more than 64"));
  EXPECT_THAT(Render("{% if %}", with("[]")), HasSubstr("template cannot be used"));
  EXPECT_THAT(Render("{{ raise_exception('only questions') }}",
                     with(R"([{"role": "user", "content": "x"}])")),
              HasSubstr("only questions"));
}

}  // namespace
}  // namespace corpgrid::inference
