#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <random>
#include <utility>
#include <vector>

#include "inference/engine.h"
#include "inference/test_decoder.h"

namespace corpgrid::inference {

inline KvShape Streams(uint32_t slots, uint32_t cells_per_slot) {
  return {KvShape::Layout::kStreams, slots, slots * cells_per_slot, cells_per_slot, true};
}

inline KvShape Shared(uint32_t slots, uint32_t cells) {
  return {KvShape::Layout::kShared, slots, cells, cells, true};
}

class EngineTest : public ::testing::Test {
 protected:
  void Start(KvShape shape, StepBudget budget = {}) {
    engine_.reset();
    decoder_ = std::make_unique<TestDecoder>(shape);
    engine_ = std::make_unique<Engine>(decoder_.get(), &vocabulary_, &clock_, budget, 2);
  }

  static Request Ask(std::vector<Token> prompt, uint32_t max_tokens = 20) {
    Request request;
    request.client = "someone";
    request.prompt = std::move(prompt);
    request.sampling.temperature = 0;
    request.max_tokens = max_tokens;
    return request;
  }

  static std::vector<Token> Prompt(uint32_t seed, size_t length, std::vector<Token> before = {}) {
    std::mt19937 random(seed);
    while (length-- > 0) before.push_back(static_cast<Token>(random() % TestDecoder::kEnd));
    return before;
  }

  std::shared_ptr<TestListener> Submit(Request request) {
    auto listener = std::make_shared<TestListener>();
    auto checked = engine_->Check(std::move(request));
    EXPECT_TRUE(checked.ok()) << checked.status();
    EXPECT_TRUE(engine_->Submit(++ids_, *std::move(checked), listener).ok());
    return listener;
  }

  // Returns the number of steps.
  int Run() {
    int steps = 0;
    while (engine_->Step()) ++steps;
    return steps;
  }

  static void ExpectAlone(const TestListener& heard, const Request& request) {
    EXPECT_THAT(
        heard.tokens.contains(0) ? heard.tokens.at(0) : std::vector<Token>(),
        ::testing::ElementsAreArray(TestDecoder::Answer(request.prompt, request.max_tokens)));
    EXPECT_EQ(heard.ends.size(), 1u);
  }

  TestVocabulary vocabulary_;
  SlowClock clock_;
  std::unique_ptr<TestDecoder> decoder_;
  std::unique_ptr<Engine> engine_;
  uint64_t ids_ = 0;
};

}  // namespace corpgrid::inference
