#include "cli/chat.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace corpgrid::cli {
namespace {

using Kind = ChatLine::Kind;

Json Messages(const Conversation& conversation, std::string_view question) {
  return Json::parse(conversation.MessagesWith(question));
}

TEST(Conversation, SendsWhatWasSaidEachTime) {
  Conversation conversation("be brief");
  conversation.AddExchange("one", "1");
  EXPECT_EQ(Messages(conversation, "two"), Json::parse(R"([
      {"role": "system", "content": "be brief"},
      {"role": "user", "content": "one"},
      {"role": "assistant", "content": "1"},
      {"role": "user", "content": "two"}])"));
}

TEST(Conversation, ClearKeepsTheSystemText) {
  Conversation conversation("");
  conversation.AddExchange("one", "1");
  conversation.SetSystem("be kind");
  conversation.Clear();
  EXPECT_EQ(Messages(conversation, "two"), Json::parse(R"([
      {"role": "system", "content": "be kind"}, {"role": "user", "content": "two"}])"));
  conversation.SetSystem("");
  EXPECT_EQ(Messages(conversation, "two").size(), 1u);
}

TEST(Conversation, TakesBytesThatAreNoText) {
  Conversation conversation("");
  conversation.AddExchange("a\xff", "\x80z");
  EXPECT_EQ(Messages(conversation, "\"\n\xc3")[0]["content"], "a\uFFFD");
  EXPECT_EQ(Messages(conversation, "\"\n\xc3")[2]["content"], "\"\n\uFFFD");
}

TEST(ChatLine, Commands) {
  EXPECT_EQ(ParseChatLine(" /help "), (ChatLine{Kind::kHelp, ""}));
  EXPECT_EQ(ParseChatLine("/clear"), (ChatLine{Kind::kClear, ""}));
  EXPECT_EQ(ParseChatLine("/exit"), (ChatLine{Kind::kExit, ""}));
  EXPECT_EQ(ParseChatLine("/system  speak like a\tpirate \r"),
            (ChatLine{Kind::kSystem, "speak like a\tpirate"}));
  EXPECT_EQ(ParseChatLine("/system"), (ChatLine{Kind::kSystem, ""}));
  EXPECT_EQ(ParseChatLine("/exti now"), (ChatLine{Kind::kUnknown, "/exti"}));
  EXPECT_EQ(NearestChatCommand("/exti"), "/exit");
  EXPECT_EQ(NearestChatCommand("/something"), "");
}

TEST(ChatLine, Messages) {
  EXPECT_EQ(ParseChatLine(""), ChatLine{});
  EXPECT_EQ(ParseChatLine(" \t "), ChatLine{});
  EXPECT_EQ(ParseChatLine(" what is /help? "), (ChatLine{Kind::kMessage, "what is /help?"}));
  for (const char* text : {"/", "//", "/ 2", "/2", "/etc/hosts is what?", "/\xc3\xa9"}) {
    EXPECT_EQ(ParseChatLine(text), (ChatLine{Kind::kMessage, text}));
  }
}

TEST(PrintableLines, KeepsLinesAndDisarmsTheRest) {
  EXPECT_EQ(PrintableLines("a\n\n\tb\n"), "a\n\n\tb\n");
  EXPECT_EQ(PrintableLines("\x1b[2J\r\x07gr\xc3\xbc\xc3\x9f\x7f"),
            "\\x1b[2J\\r\\x07gr\xc3\xbc\xc3\x9f\\x7f");
  EXPECT_EQ(PrintableLines("\xc2\x9b\xff\n"), "\\xc2\\x9b\\xff\n");
  EXPECT_EQ(PrintableLines(""), "");
}

}  // namespace
}  // namespace corpgrid::cli
