#include "inference/engine.h"

#include "inference/test_engine.h"

namespace corpgrid::inference {
namespace {

using ::testing::HasSubstr;

TEST_F(EngineTest, AnswersAsTheModelDoesWhenItIsAlone) {
  Start(Streams(4, 100));
  const Request request = Ask(Prompt(1, 10));
  const auto heard = Submit(request);
  Run();
  ExpectAlone(*heard, request);
  EXPECT_EQ(heard->ends.at(0).usage.prompt_tokens, 10u);
  EXPECT_EQ(heard->ends.at(0).usage.answer_tokens, heard->tokens.at(0).size());
}

// Random prompts that share beginnings, more than there are slots, in both kinds of memory, some
// cancelled on the way: every answer is what the model says when it is alone.
TEST_F(EngineTest, EveryAnswerIsThatOfTheModelAlone) {
  for (const KvShape& shape : {Streams(3, 120), Shared(5, 200), Streams(1, 90)}) {
    for (uint32_t seed = 1; seed <= 20; ++seed) {
      Start(shape, {.tokens = 40, .prompt_tokens_beside_answers = 16});
      std::mt19937 random(seed);
      std::vector<std::pair<Request, std::shared_ptr<TestListener>>> all;
      std::set<size_t> cancelled;
      for (int i = 0; i < 25; ++i) {
        Request request =
            Ask(Prompt(random(), 1 + random() % 30, Prompt(random() % 3, 40)), 1 + random() % 15);
        request.client = std::to_string(random() % 3);
        all.emplace_back(request, Submit(request));
        for (uint32_t steps = random() % 4; steps > 0; --steps) engine_->Step();
        if (random() % 8 == 0) {
          cancelled.insert(all.size() - 1);
          engine_->Cancel(ids_);
        }
      }
      Run();
      for (size_t i = 0; i < all.size(); ++i) {
        if (!cancelled.contains(i)) ExpectAlone(*all[i].second, all[i].first);
      }
      EXPECT_EQ(engine_->stats().running + engine_->stats().waiting, 0u);
    }
  }
}

TEST_F(EngineTest, AnswersComeBeforePromptsAndALongPromptComesInParts) {
  Start(Streams(2, 300), {.tokens = 50, .prompt_tokens_beside_answers = 8});
  const auto first = Submit(Ask(Prompt(1, 5), 100));
  engine_->Step();
  const size_t before = first->tokens[0].size();
  const auto second = Submit(Ask(Prompt(2, 80)));
  engine_->Step();
  EXPECT_EQ(first->tokens[0].size(), before + 1);
  EXPECT_EQ(decoder_->batches.back().size(), 1u + 8u);
  Run();
  ExpectAlone(*second, Ask(Prompt(2, 80)));
}

TEST_F(EngineTest, ASharedPrefixIsComputedOnceAndOutlivesItsRequest) {
  Start(Streams(4, 200));
  const std::vector<Token> system = Prompt(7, 100);
  Submit(Ask(Prompt(1, 5, system), 3));
  Run();
  decoder_->computed = 0;
  const Request request = Ask(Prompt(2, 5, system), 3);
  const auto heard = Submit(request);
  Run();
  ExpectAlone(*heard, request);
  EXPECT_LE(decoder_->computed, 5u + 3u);
  EXPECT_EQ(heard->ends.at(0).usage.reused_tokens, 100u);
}

TEST_F(EngineTest, ABurstWaitsForThePrefixThatTheFirstOfItComputes) {
  Start(Streams(8, 200), {.tokens = 64, .prompt_tokens_beside_answers = 64});
  const std::vector<Token> system = Prompt(7, 150);
  std::vector<std::pair<Request, std::shared_ptr<TestListener>>> all;
  for (uint32_t i = 0; i < 8; ++i) {
    const Request request = Ask(Prompt(i + 10, 5, system), 3);
    all.emplace_back(request, Submit(request));
  }
  Run();
  for (const auto& [request, heard] : all) ExpectAlone(*heard, request);
  EXPECT_LE(decoder_->computed, 150u + 8 * (5 + 3));
  EXPECT_EQ(decoder_->copies, 7u);
}

TEST_F(EngineTest, ChoicesShareTheirPromptAndDifferByChance) {
  Start(Streams(4, 200));
  Request request = Ask(Prompt(1, 60), 12);
  request.sampling.temperature = 2;
  request.sampling.seed = 5;
  request.choices = 3;
  const auto heard = Submit(request);
  Run();
  EXPECT_EQ(heard->ends.size(), 3u);
  EXPECT_LE(decoder_->computed, 60u + 3 * 12 + 2);
  EXPECT_NE(heard->text[0], heard->text[1]);
  const auto again = Submit(request);
  Run();
  EXPECT_EQ(heard->text, again->text);
}

TEST_F(EngineTest, ASharedPoolThatIsFullMakesTheYoungestWaitAndGoOnLater) {
  Start(Shared(4, 64), {.tokens = 16, .prompt_tokens_beside_answers = 8});
  std::vector<std::pair<Request, std::shared_ptr<TestListener>>> all;
  for (uint32_t i = 0; i < 4; ++i) {
    Request request = Ask(Prompt(i + 1, 8), 40);
    request.ignore_end = true;
    all.emplace_back(request, Submit(request));
  }
  Run();
  EXPECT_GT(engine_->stats().preemptions, 0u);
  for (const auto& [request, heard] : all) {
    EXPECT_EQ(heard->ends.at(0).finish, Finish::kLength);
    EXPECT_EQ(heard->tokens.at(0).size(), 40u);
    const auto alone = TestDecoder::Answer(request.prompt, 40);
    EXPECT_TRUE(std::equal(alone.begin(), alone.end(), heard->tokens.at(0).begin()));
  }
}

TEST_F(EngineTest, AMemoryThatIsFullerThanCountedMakesTheYoungestWait) {
  Start(Streams(3, 100));
  decoder_->true_cells = 45;  // for two of the three
  std::vector<std::pair<Request, std::shared_ptr<TestListener>>> all;
  for (uint32_t i = 0; i < 3; ++i) {
    Request request = Ask(Prompt(i + 1, 8), 12);
    all.emplace_back(request, Submit(request));
  }
  for (int steps = 0; engine_->Step(); ++steps) ASSERT_LT(steps, 60);
  EXPECT_GT(engine_->stats().preemptions, 0u);
  EXPECT_LE(engine_->stats().preemptions, 2u);
  for (const auto& [request, heard] : all) ExpectAlone(*heard, request);
}

TEST_F(EngineTest, AFailedStepFailsWhatItWasAboutAndNothingElse) {
  Start(Streams(2, 100));
  const auto broken = Submit(Ask(Prompt(1, 8)));
  decoder_->next_error = absl::InternalError("the model is on fire");
  engine_->Step();
  EXPECT_EQ(broken->ends.at(0).finish, Finish::kFailed);
  EXPECT_THAT(broken->ends.at(0).status.message(), HasSubstr("on fire"));
  const Request request = Ask(Prompt(1, 8));
  const auto fine = Submit(request);
  Run();
  ExpectAlone(*fine, request);
}

TEST_F(EngineTest, ACancelledRequestIsComputedNoMore) {
  Start(Streams(1, 200));
  const auto running = Submit(Ask(Prompt(1, 5), 100));
  const uint64_t id = ids_;
  const Request next = Ask(Prompt(2, 5), 5);
  const auto waiting = Submit(next);
  engine_->Step();
  engine_->Cancel(id);
  EXPECT_EQ(running->ends.at(0).finish, Finish::kCancelled);
  const size_t heard = running->tokens[0].size();
  Run();
  EXPECT_EQ(running->tokens[0].size(), heard);
  ExpectAlone(*waiting, next);
  Submit(Ask(Prompt(3, 5), 5));
  const auto never = Submit(Ask(Prompt(4, 5), 5));
  engine_->Cancel(ids_);  // while it waits
  Run();
  EXPECT_EQ(never->ends.at(0).finish, Finish::kCancelled);
  EXPECT_TRUE(never->tokens.empty());
}

TEST_F(EngineTest, EndsAtStopStringsAtMaxTokensAndWhereTheContextIsFull) {
  Start(Streams(2, 30));
  Request request = Ask(Prompt(1, 10), 15);
  request.ignore_end = true;
  const auto whole = Submit(request);
  Run();
  EXPECT_EQ(whole->ends.at(0).finish, Finish::kLength);
  ASSERT_EQ(whole->text[0].size(), 15u);
  const std::string stop = whole->text[0].substr(5, 2);
  request.stop = {stop};
  const auto stopped = Submit(request);
  request.stop.clear();
  request.max_tokens = 0;
  const auto full = Submit(request);
  Run();
  EXPECT_EQ(stopped->ends.at(0).finish, Finish::kStop);
  EXPECT_EQ(stopped->text[0], whole->text[0].substr(0, whole->text[0].find(stop)));
  EXPECT_EQ(full->ends.at(0).finish, Finish::kLength);
  EXPECT_EQ(full->tokens[0].size(), 20u);  // 30 cells, 10 of them the prompt's
}

TEST_F(EngineTest, AClientWithManyRequestsDoesNotHoldUpAnother) {
  Start(Streams(2, 100));
  std::vector<std::shared_ptr<TestListener>> many;
  for (uint32_t i = 0; i < 10; ++i) {
    Request request = Ask(Prompt(i, 5), 5);
    request.ignore_end = true;
    many.push_back(Submit(request));
  }
  engine_->Step();
  Request request = Ask(Prompt(99, 5), 5);
  request.client = "another";
  const auto another = Submit(request);
  while (another->ends.empty()) ASSERT_TRUE(engine_->Step());
  const auto done = std::count_if(many.begin(), many.end(),
                                  [](const auto& heard) { return !heard->ends.empty(); });
  EXPECT_LE(done, 4);
  Run();
}

TEST_F(EngineTest, SaysWhatIsWrongWithARequest) {
  Start(Streams(2, 30));
  EXPECT_THAT(engine_->Check(Ask({})).status().message(), HasSubstr("no tokens"));
  EXPECT_THAT(engine_->Check(Ask(Prompt(1, 30))).status().message(),
              HasSubstr("the prompt has 30 tokens and the answer needs at least one; this model "
                        "is loaded with a context of 30"));
  EXPECT_TRUE(engine_->Check(Ask(Prompt(1, 29))).ok());
  EXPECT_THAT(engine_->Check(Ask({50})).status().message(), HasSubstr("token 50"));
  EXPECT_THAT(engine_->Check(Ask({-1})).status().message(), HasSubstr("token -1"));
  Request request = Ask({1});
  request.choices = 0;
  EXPECT_THAT(engine_->Check(request).status().message(), HasSubstr("0 choices"));
  request.choices = 1;
  request.sampling.top_p = 1.5;
  EXPECT_THAT(engine_->Check(request).status().message(), HasSubstr("top_p is 1.5"));
  request.sampling.top_p = 1;
  request.stop.assign(17, "x");
  EXPECT_THAT(engine_->Check(request).status().message(), HasSubstr("17 stop strings"));
}

TEST_F(EngineTest, OneClientLeavesOthersAPlaceToWait) {
  Start(Streams(1, 64));
  Request request = Ask(Prompt(1, 8), 2);
  request.choices = Request::kMaxChoices;
  for (size_t i = 0; i < Engine::kMaxWaitingOfClient / Request::kMaxChoices; ++i) Submit(request);
  const auto refused =
      engine_->Submit(++ids_, *engine_->Check(request), std::make_shared<TestListener>());
  EXPECT_THAT(refused.message(), HasSubstr("1024 answers of this client wait"));
  Request other = Ask(Prompt(2, 8), 2);
  other.client = "another";
  const auto heard = Submit(other);
  Run();
  EXPECT_EQ(heard->ends.at(0).finish, Finish::kLength);
}

TEST_F(EngineTest, AMemoryThatCannotBeCutGoesOnOnlyWhereItEnded) {
  KvShape shape = Streams(2, 200);
  shape.reuses_prefixes = false;
  Start(shape);
  const Request first = Ask(Prompt(1, 40), 5);
  const auto heard = Submit(first);
  Run();
  std::vector<Token> longer = first.prompt;
  for (const Token token : heard->tokens[0]) longer.push_back(token);
  const Request next = Ask(Prompt(2, 10, longer), 5);
  const Request other = Ask(Prompt(3, 10, Prompt(1, 38)), 5);
  const auto heard_next = Submit(next);
  const auto heard_other = Submit(other);
  Run();
  ExpectAlone(*heard_next, next);
  ExpectAlone(*heard_other, other);
  EXPECT_GT(heard_next->ends.at(0).usage.reused_tokens, 40u);
  EXPECT_EQ(heard_other->ends.at(0).usage.reused_tokens, 0u);
}

}  // namespace
}  // namespace corpgrid::inference
