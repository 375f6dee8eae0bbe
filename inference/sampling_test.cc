#include "inference/sampling.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <map>
#include <set>

namespace corpgrid::inference {
namespace {

using ::testing::HasSubstr;

const std::vector<float> kLogits = {0.5f, 2.0f, 1.0f, 2.0f, -1.0f};

// Allows the same tokens always.
class TestFilter final : public TokenFilter {
 public:
  explicit TestFilter(std::set<Token> allowed) : allowed_(std::move(allowed)) {}
  bool Allows(Token token) override { return allowed_.contains(token); }
  void Mask(std::span<float> logits) override {
    for (size_t i = 0; i < logits.size(); ++i) {
      if (!Allows(static_cast<Token>(i))) logits[i] = -std::numeric_limits<float>::infinity();
    }
  }
  absl::Status Accept(Token) override { return absl::OkStatus(); }
  size_t bytes() const override { return allowed_.size(); }

 private:
  const std::set<Token> allowed_;
};

Sampler With(const Sampling& sampling, std::set<Token> allowed) {
  Sampler sampler(sampling);
  sampler.SetFilter(std::make_unique<TestFilter>(std::move(allowed)));
  return sampler;
}

std::map<Token, double> Shares(const Sampling& sampling, int draws = 20000) {
  Sampler sampler(sampling);
  std::map<Token, double> shares;
  for (int i = 0; i < draws; ++i) {
    shares[sampler.Sample(kLogits, i)->chosen.token] += 1.0 / draws;
  }
  return shares;
}

TEST(SamplingTest, WithoutTemperatureTheFirstOfTheLikeliestIsChosen) {
  Sampling sampling;
  sampling.temperature = 0;
  EXPECT_EQ(Sampler(sampling).Sample(kLogits, 0)->chosen.token, 1);
  std::vector<float> many(1003, -3.0f);
  many[1001] = 1;
  EXPECT_EQ(Sampler(sampling).Sample(many, 0)->chosen.token, 1001);
}

TEST(SamplingTest, ATemperatureWhoseInverseIsInfiniteIsGreedy) {
  for (const double temperature : {1e-320, 1e-40, 1e-6, 1e-5}) {
    Sampling sampling;
    sampling.temperature = temperature;
    EXPECT_EQ(Sampler(sampling).Sample({{0.5f, 1.0f, 2.0f}}, 0)->chosen.token, 2) << temperature;
  }
}

TEST(SamplingTest, DrawsByTheModelsProbabilitiesAtTheTemperature) {
  for (const double temperature : {0.5, 1.0, 2.0}) {
    Sampling sampling;
    sampling.temperature = temperature;
    sampling.seed = 7;
    double sum = 0;
    for (const float logit : kLogits) sum += std::exp(logit / temperature);
    auto shares = Shares(sampling);
    for (Token token = 0; token < 5; ++token) {
      EXPECT_NEAR(shares[token], std::exp(kLogits[token] / temperature) / sum, 0.012);
    }
  }
}

TEST(SamplingTest, TopKTopPAndMinPCutTheTail) {
  Sampling sampling;
  sampling.top_k = 2;
  EXPECT_EQ(Shares(sampling).size(), 2u);
  sampling.top_k = 0;
  sampling.top_p = 0.8;  // 1 and 3 have 0.37 each, 2 has 0.14
  EXPECT_EQ(Shares(sampling).size(), 3u);
  sampling.top_p = 0;  // never nothing
  EXPECT_EQ(Shares(sampling).size(), 1u);
  sampling.top_p = 1;
  sampling.min_p = 0.3;  // 2 has 0.37 of the likeliest, 0 has 0.22
  EXPECT_EQ(Shares(sampling).size(), 3u);
}

TEST(SamplingTest, ChanceIsAFunctionOfSeedAndPosition) {
  Sampling sampling;
  sampling.seed = 3;
  Sampler one(sampling), other(sampling);
  one.Sample(kLogits, 0);
  for (uint32_t position = 1; position < 50; ++position) {
    EXPECT_EQ(one.Sample(kLogits, position)->chosen.token,
              other.Sample(kLogits, position)->chosen.token);
  }
  EXPECT_EQ(ChanceAt(1, 2), ChanceAt(1, 2));
  EXPECT_NE(ChanceAt(1, 2), ChanceAt(2, 1));
  EXPECT_EQ(SeedOfChoice(9, 0), 9u);
  EXPECT_NE(SeedOfChoice(9, 1), SeedOfChoice(9, 2));
  double sum = 0;
  for (uint64_t i = 0; i < 10000; ++i) sum += ChanceAt(i, i);
  EXPECT_NEAR(sum / 10000, 0.5, 0.01);
}

TEST(SamplingTest, BiasAndPenaltiesMoveTheLogits) {
  Sampling sampling;
  sampling.temperature = 0;
  sampling.logit_bias = {{4, 100.0f}};
  EXPECT_EQ(Sampler(sampling).Sample(kLogits, 0)->chosen.token, 4);
  sampling.logit_bias = {{1, -100.0f}};
  EXPECT_EQ(Sampler(sampling).Sample(kLogits, 0)->chosen.token, 3);
  sampling.logit_bias.clear();
  sampling.presence_penalty = 0.6;
  Sampler presence(sampling);
  ASSERT_TRUE(presence.Accept(1).ok());
  ASSERT_TRUE(presence.Accept(1).ok());
  EXPECT_EQ(presence.Sample(kLogits, 0)->chosen.token, 3);
  ASSERT_TRUE(presence.Accept(3).ok());  // both are down to 1.4, still above 2's
  EXPECT_EQ(presence.Sample(kLogits, 0)->chosen.token, 1);
  sampling.presence_penalty = 0;
  sampling.frequency_penalty = 0.6;
  Sampler frequency(sampling);
  for (const Token token : {1, 1, 3, 3}) ASSERT_TRUE(frequency.Accept(token).ok());
  EXPECT_EQ(frequency.Sample(kLogits, 0)->chosen.token, 2);
}

TEST(SamplingTest, LogprobsAreTheModelsOwn) {
  Sampling sampling;
  sampling.temperature = 0;
  sampling.logit_bias = {{4, 100.0f}};
  sampling.logprobs = true;
  sampling.top_logprobs = 2;
  const SampledToken sampled = *Sampler(sampling).Sample(kLogits, 0);
  double sum = 0;
  for (const float logit : kLogits) sum += std::exp(logit);
  EXPECT_EQ(sampled.chosen.token, 4);
  EXPECT_NEAR(sampled.chosen.logprob, -1 - std::log(sum), 1e-5);
  ASSERT_EQ(sampled.likeliest.size(), 2u);
  EXPECT_EQ(sampled.likeliest[0].token, 1);
  EXPECT_EQ(sampled.likeliest[1].token, 3);
  EXPECT_NEAR(sampled.likeliest[0].logprob, 2 - std::log(sum), 1e-5);
}

TEST(SamplingTest, AFilterKeepsTheShareOfWhatItAllows) {
  Sampling sampling;
  sampling.seed = 3;
  Sampler sampler = With(sampling, {0, 1, 4});
  std::map<Token, double> shares;
  constexpr int kDraws = 20000;
  for (int i = 0; i < kDraws; ++i) shares[sampler.Sample(kLogits, i)->chosen.token] += 1.0 / kDraws;
  double sum = 0;
  for (const Token token : {0, 1, 4}) sum += std::exp(kLogits[token]);
  for (const Token token : {0, 1, 4}) {
    EXPECT_NEAR(shares[token], std::exp(kLogits[token]) / sum, 0.012);
  }
  EXPECT_EQ(shares.size(), 3u);
  Sampler none = With(sampling, {});
  EXPECT_FALSE(none.Sample(kLogits, 0));
  sampling.temperature = 0;
  Sampler greedy = With(sampling, {0, 2});
  EXPECT_EQ(greedy.Sample(kLogits, 0)->chosen.token, 2);
}

TEST(SamplingTest, SaysWhichFieldIsOutOfRange) {
  const auto message = [](auto change) {
    Sampling sampling;
    change(sampling);
    return std::string(sampling.Check(100).message());
  };
  EXPECT_EQ(message([](Sampling&) {}), "");
  EXPECT_THAT(message([](Sampling& s) { s.temperature = -1; }), HasSubstr("temperature is -1"));
  EXPECT_THAT(message([](Sampling& s) { s.temperature = NAN; }), HasSubstr("temperature is nan"));
  EXPECT_THAT(message([](Sampling& s) { s.top_logprobs = 21; }), HasSubstr("from 0 to 20"));
  EXPECT_THAT(message([](Sampling& s) { s.logit_bias = {{100, 1.0f}}; }), HasSubstr("token 100"));
  EXPECT_THAT(message([](Sampling& s) { s.logit_bias = {{1, NAN}}; }), HasSubstr("bias nan"));
  EXPECT_THAT(message([](Sampling& s) { s.logit_bias.resize(1025); }), HasSubstr("1025 tokens"));
}

}  // namespace
}  // namespace corpgrid::inference
