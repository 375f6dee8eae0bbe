// Answers of a grammar.
#include "inference/test_engine.h"

namespace corpgrid::inference {
namespace {

using ::testing::HasSubstr;

TEST_F(EngineTest, AnAnswerIsOfItsGrammarAlsoWhenItHadToGiveWay) {
  Start(Shared(4, 64), {.tokens = 16, .prompt_tokens_beside_answers = 8});
  const std::string text = "THEQUICKBROWNFOXJUMPSOVERTHELAZYDOG";
  std::vector<std::shared_ptr<TestListener>> all;
  for (uint32_t i = 0; i < 4; ++i) {
    Request request = Ask(Prompt(i + 1, 8), 50);
    request.grammar = text;
    all.push_back(Submit(request));
  }
  Run();
  EXPECT_GT(engine_->stats().preemptions, 0u);
  for (const auto& heard : all) {
    EXPECT_EQ(heard->text[0], text);
    EXPECT_EQ(heard->ends.at(0).finish, Finish::kStop);
  }
  Request request = Ask({1});
  request.grammar = "!";
  EXPECT_THAT(engine_->Check(request).status().message(), HasSubstr("no grammar"));
  request.grammar = "A";
  request.ignore_end = true;
  EXPECT_THAT(engine_->Check(request).status().message(), HasSubstr("leave ignore_end out"));
}

TEST_F(EngineTest, EachChoiceFollowsTheGrammarByItself) {
  Start(Streams(2, 64));
  Request request = Ask(Prompt(1, 8), 50);
  request.choices = 5;  // of which three wait
  request.grammar = "ABCABC";
  const auto heard = Submit(request);
  Run();
  for (uint32_t choice = 0; choice < 5; ++choice) EXPECT_EQ(heard->text[choice], "ABCABC");
}

TEST_F(EngineTest, AGrammarThatIsTooSlowEndsItsAnswerOnly) {
  Start(Streams(2, 64));
  Request slow = Ask(Prompt(1, 8), 50);
  slow.grammar = "AB_A";
  const auto heard = Submit(slow);
  const auto other = Submit(Ask(Prompt(2, 8), 50));
  Run();
  EXPECT_EQ(heard->ends.at(0).finish, Finish::kFailed);
  EXPECT_EQ(heard->ends.at(0).status.message(), "too slow");
  EXPECT_NE(other->ends.at(0).finish, Finish::kFailed);
}

TEST_F(EngineTest, WhatWaitsHasABoundInMemory) {
  Start(Streams(1, 64));
  Request request = Ask(Prompt(1, 8), 2);
  request.grammar = std::string(16 << 20, 'A');
  std::vector<Engine::Checked> held;
  for (size_t i = 0; i < Engine::kMaxHeldBytes / (16 << 20); ++i) {
    auto checked = engine_->Check(request);
    if (checked.ok()) held.push_back(*std::move(checked));
  }
  EXPECT_EQ(held.size(), 15u);  // their prompts take the rest
  EXPECT_THAT(engine_->Check(request).status().message(), HasSubstr("take 240 MiB already"));
  held.pop_back();
  EXPECT_TRUE(engine_->Check(request).ok());
}

TEST_F(EngineTest, GrammarsThatTakeMuchWaitForEachOther) {
  Start(Streams(3, 200));
  Request large = Ask(Prompt(1, 8), 180);
  large.grammar = std::string(160, 'A');  // MiB
  large.choices = 2;
  Request small = Ask(Prompt(2, 8), 20);
  small.grammar = "AB";
  const auto heard_large = Submit(large), heard_small = Submit(small);
  engine_->Step();
  EXPECT_EQ(engine_->stats().running, 2u);
  EXPECT_EQ(engine_->stats().waiting, 1u);
  Run();
  EXPECT_EQ(heard_large->text[0], large.grammar);
  EXPECT_EQ(heard_large->text[1], large.grammar);
  EXPECT_EQ(heard_small->text[0], "AB");
}

}  // namespace
}  // namespace corpgrid::inference
