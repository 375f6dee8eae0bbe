#include "rpc/protocol.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

namespace corpgrid::rpc {
namespace {

using ::testing::HasSubstr;

TEST(ProtocolTest, TheNewestThatBothSpeakIsAgreedOn) {
  struct Case {
    ProtocolRange scheduler, agent;
    uint32_t agreed;
  };
  for (const auto& [scheduler, agent, agreed] :
       {Case{{1, 2}, {1, 2}, 2}, Case{{1, 2}, {1, 1}, 1}, Case{{1, 2}, {2, 3}, 2},
        Case{{2, 3}, {1, 2}, 2}, Case{{4, 4}, {3, 9}, 4}}) {
    const auto got = AgreeOnProtocol(scheduler, "agent", agent);
    ASSERT_TRUE(got.ok()) << got.status();
    EXPECT_EQ(*got, agreed);
  }
}

TEST(ProtocolTest, WhoIsTooOldIsToldWhatToUpgrade) {
  const absl::Status old_agent = AgreeOnProtocol({3, 4}, "agent", {1, 2}).status();
  EXPECT_TRUE(absl::IsFailedPrecondition(old_agent));
  EXPECT_EQ(old_agent.message(),
            "the agent speaks protocol versions 1 to 2, the scheduler protocol versions 3 to 4: "
            "upgrade the agent first");
  const absl::Status old_scheduler = AgreeOnProtocol({1, 1}, "command line", {2, 3}).status();
  EXPECT_EQ(old_scheduler.message(),
            "the command line speaks protocol versions 2 to 3, the scheduler protocol version 1: "
            "upgrade the scheduler first");
}

TEST(ProtocolTest, WhatSaysNothingThatCanBeReadSpeaksVersion1) {
  EXPECT_EQ(ParseProtocol("2-3"), (ProtocolRange{2, 3}));
  EXPECT_EQ(ParseProtocol("7-7"), (ProtocolRange{7, 7}));
  for (const char* text : {"", "2", "2-", "-3", "3-2", "0-1", "2-3 ", "2-3-4", " 2-3", "a-b",
                           "1-99999999999", "-1--1", "2–3"}) {
    EXPECT_EQ(ParseProtocol(text), ProtocolRange()) << text;
  }
  EXPECT_EQ(ParseProtocol(OurProtocol().ToText()), OurProtocol());
}

TEST(ProtocolTest, ThisProgramSpeaksItsVersionAndTheOneBefore) {
  EXPECT_EQ(OurProtocol(), (ProtocolRange{kProtocol - 1, kProtocol}));
}

}  // namespace
}  // namespace corpgrid::rpc
