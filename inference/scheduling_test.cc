// The parts of the schedule that know nothing of a model: the step's plan, the queue, the threads.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "inference/fair_queue.h"
#include "inference/step_plan.h"
#include "inference/thread_tuner.h"

namespace corpgrid::inference {
namespace {

using ::testing::ElementsAre;

bool Any(uint64_t) { return true; }

TEST(StepPlanTest, AnswersComeFirstAndPromptsGetWhatIsLeftInOrder) {
  const StepBudget budget = {.tokens = 20, .prompt_tokens_beside_answers = 10};
  EXPECT_THAT(PlanStep(std::vector<Pending>{{30, false}, {1, true}, {4, false}, {1, true}}, budget),
              ElementsAre(10, 1, 0, 1));
  EXPECT_THAT(PlanStep(std::vector<Pending>{{5, false}, {4, false}, {30, false}}, budget),
              ElementsAre(5, 4, 11));
  EXPECT_THAT(PlanStep(std::vector<Pending>{{1, false}, {1, true}}, budget), ElementsAre(1, 1));
  EXPECT_THAT(PlanStep(std::vector<Pending>{{30, true}, {1, true}}, budget), ElementsAre(10, 1));
}

TEST(StepPlanTest, ShortPromptsDoNotWaitForLongOnesThatCameBefore) {
  const StepBudget budget{.tokens = 512, .prompt_tokens_beside_answers = 128};
  EXPECT_THAT(PlanStep(std::vector<Pending>{{2000, false}, {8, false}, {8, false}}, budget),
              ElementsAre(496, 8, 8));
  EXPECT_THAT(
      PlanStep(std::vector<Pending>{{2000, false}, {16, false}, {17, false}, {1, true}}, budget),
      ElementsAre(112, 16, 0, 1));
  // However many of them there are, the long one gets half.
  std::vector<Pending> many(10, {60, false});
  many.insert(many.begin(), {2000, false});
  EXPECT_THAT(PlanStep(many, budget), ElementsAre(272, 60, 60, 60, 60, 0, 0, 0, 0, 0, 0));
}

TEST(StepPlanTest, AQuickMachineComputesMoreOfPromptsBesideAnswers) {
  const StepBudget budget = {.tokens = 512, .prompt_tokens_beside_answers = 64};
  EXPECT_EQ(Paced(budget, 0).prompt_tokens_beside_answers, 64u);
  EXPECT_EQ(Paced(budget, 5000).prompt_tokens_beside_answers, 64u);
  EXPECT_EQ(Paced(budget, 500).prompt_tokens_beside_answers, 200u);
  EXPECT_EQ(Paced(budget, 0.001).prompt_tokens_beside_answers, 512u);
}

TEST(FairQueueTest, TheClientThatGotLeastIsNext) {
  FairQueue queue;
  for (uint64_t item = 1; item <= 3; ++item) queue.Push("a", item);
  EXPECT_EQ(queue.Take(Any), 1u);
  queue.Charge("a", 100);
  queue.Push("b", 10);  // begins level with a
  queue.Push("b", 11);
  EXPECT_EQ(queue.Take(Any), 2u);
  queue.Charge("a", 1);
  EXPECT_EQ(queue.Take(Any), 10u);
  queue.Charge("b", 200);
  EXPECT_EQ(queue.Take(Any), 3u);
  EXPECT_EQ(queue.Take(Any), 11u);
  EXPECT_EQ(queue.Take(Any), std::nullopt);
}

TEST(FairQueueTest, WhatCannotStartIsPassedOverAndWhatIsRemovedIsGone) {
  FairQueue queue;
  for (uint64_t item = 1; item <= 3; ++item) queue.Push("a", item);
  EXPECT_EQ(queue.Take([](uint64_t item) { return item != 1; }), 2u);
  EXPECT_TRUE(queue.Remove("a", 1));
  EXPECT_FALSE(queue.Remove("a", 1));
  EXPECT_FALSE(queue.Remove("b", 1));
  EXPECT_EQ(queue.size(), 1u);
  EXPECT_EQ(queue.Take(Any), 3u);
}

TEST(FairQueueTest, AClientThatWasAwayGainsNothingByIt) {
  FairQueue queue;
  queue.Push("a", 1);
  queue.Push("b", 2);
  EXPECT_EQ(queue.Take(Any), 1u);
  EXPECT_EQ(queue.Take(Any), 2u);
  queue.Charge("a", 1000);
  queue.Ended("b");  // and is forgotten
  queue.Push("b", 3);
  queue.Charge("b", 1);
  queue.Push("a", 4);
  EXPECT_EQ(queue.Take(Any), 4u);
}

// Runs steps that take what `cost` says of their number of threads.
uint32_t Settle(ThreadTuner* tuner, int steps, const std::function<int64_t(uint32_t)>& cost) {
  uint32_t last = 0;
  std::map<uint32_t, int> counts;
  for (int i = 0; i < steps; ++i) {
    const uint32_t threads = tuner->Choose({.rows = 8});
    tuner->Took(cost(threads));
    if (i >= steps / 2) ++counts[threads];
  }
  for (const auto& [threads, count] : counts) {
    if (count > counts[last]) last = threads;
  }
  return last;
}

TEST(ThreadTunerTest, FollowsTheLoadOfTheMachine) {
  ThreadTuner tuner(8);
  const auto idle = [](uint32_t threads) { return 8000 / threads; };
  const auto busy = [](uint32_t threads) { return threads > 2 ? 90000 : 8000 / threads; };
  EXPECT_EQ(tuner.Choose({.rows = 8}), 8u);
  EXPECT_EQ(Settle(&tuner, 400, idle), 8u);
  EXPECT_EQ(Settle(&tuner, 1000, busy), 2u);
  EXPECT_EQ(Settle(&tuner, 4000, idle), 8u);
}

TEST(ThreadTunerTest, NoticesABusyMachineWithinAFewSteps) {
  ThreadTuner tuner(2);
  for (int i = 0; i < 2000; ++i) tuner.Took(tuner.Choose({.rows = 8}) == 2 ? 1000 : 2000);
  int slow = 0;
  for (int i = 0; i < 100; ++i) {
    const bool two = tuner.Choose({.rows = 8}) == 2;
    slow += two ? 1 : 0;
    tuner.Took(two ? 30'000 : 2500);
  }
  EXPECT_LE(slow, 6);
}

TEST(ThreadTunerTest, WhatIsLearntOfOneSizeIsTheStartOfAnother) {
  ThreadTuner tuner(4);
  for (int i = 0; i < 200; ++i) tuner.Took(tuner.Choose({.rows = 8}) > 1 ? 9000 : 1000);
  EXPECT_EQ(tuner.Choose({.rows = 1}), 1u);
}

TEST(ThreadTunerTest, TriesRarelyWhatWasMuchSlower) {
  ThreadTuner tuner(2);
  int slow = 0;
  for (int i = 0; i < 4000; ++i) {
    const uint32_t threads = tuner.Choose({.rows = 8});
    slow += threads == 1 ? 1 : 0;
    tuner.Took(threads == 1 ? 2000 : 1000);
  }
  EXPECT_LT(slow, 40);  // a hundredth
  EXPECT_GT(slow, 0);
}

TEST(ThreadTunerTest, LongStepsAreNotTriedAtOnce) {
  ThreadTuner tuner(2);
  for (int step = 0; step < 16; ++step) {
    EXPECT_EQ(tuner.Choose({.rows = 512}), 2u) << step;
    tuner.Took(3'000'000);
  }
}

TEST(ThreadTunerTest, LongStepsAreSoonTriedWithMoreThreadsThanShortOnesHave) {
  for (const uint32_t all : {2u, 8u}) {
    for (const uint32_t best : {1u, all / 2}) {
      ThreadTuner tuner(all);
      const auto cost = [&](uint32_t threads) { return threads == best ? 1000 : 2000; };
      EXPECT_EQ(Settle(&tuner, 400, cost), best);
      int slow = 0;
      for (int step = 0; step < 16; ++step) {
        const uint32_t threads = tuner.Choose({.rows = 128});
        slow += threads < all ? 1 : 0;
        tuner.Took(1'000'000 / threads);
      }
      EXPECT_EQ(slow, 3) << best << " of " << all;
    }
  }
}

// As it is with AMX, where what looks back takes most of a prompt's time.
TEST(ThreadTunerTest, LaterPartsOfAPromptAreNoLoadOfTheMachine) {
  for (uint32_t start = 0; start < 8; ++start) {
    ThreadTuner tuner(2);
    EXPECT_EQ(Settle(&tuner, 400, [](uint32_t threads) { return threads * 1000; }), 1u);
    int slow = 0;
    for (uint32_t step = start; step < start + 500; ++step) {
      const uint32_t position = step % 8 * 256;
      const uint32_t threads = tuner.Choose({.rows = 264, .keys = 256 * (position + 128)});
      slow += threads == 1 ? 1 : 0;
      tuner.Took((2 * position + 1000) * 1000 / threads);
    }
    EXPECT_LE(slow, 5) << "from " << start;
  }
}

TEST(StepCostTest, TellsRowsFromKeys) {
  StepCost cost;
  EXPECT_EQ(cost.Us({.rows = 8, .keys = 100}), 0);
  cost.Saw({.rows = 8, .keys = 100}, 800);
  EXPECT_NEAR(cost.Us({.rows = 16, .keys = 100}), 1600, 1);  // one says nothing of keys
  cost.Saw({.rows = 8, .keys = 1000}, 1700);
  EXPECT_NEAR(cost.Us({.rows = 8, .keys = 400}), 1100, 1);
  EXPECT_NEAR(cost.Us({.rows = 16, .keys = 400}), 1800, 1);
  cost.Scale(0.5);
  EXPECT_NEAR(cost.Us({.rows = 8, .keys = 400}), 550, 1);
}

TEST(StepCostTest, NoRowAndNoKeyTakesLessThanNothing) {
  StepCost cost;
  cost.Saw({.rows = 8, .keys = 100}, 1700);
  cost.Saw({.rows = 8, .keys = 1000}, 800);
  EXPECT_GT(cost.Us({.rows = 8, .keys = 5000}), 800);
}

TEST(ThreadTunerTest, MoreThreadsHaveToPay) {
  ThreadTuner tuner(2);
  EXPECT_EQ(Settle(&tuner, 400, [](uint32_t threads) { return threads == 2 ? 1000 : 1050; }), 1u);
  EXPECT_EQ(Settle(&tuner, 2000, [](uint32_t threads) { return threads == 2 ? 600 : 1050; }), 2u);
}

TEST(ThreadTunerTest, OneThreadIsOne) {
  ThreadTuner tuner(1);
  for (int i = 0; i < 100; ++i) {
    EXPECT_EQ(tuner.Choose({.rows = 8}), 1u);
    tuner.Took(10);
  }
}

}  // namespace
}  // namespace corpgrid::inference
