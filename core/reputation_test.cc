#include "core/reputation.h"

#include <gtest/gtest.h>

namespace corpgrid::core {
namespace {

ReputationRow After(int good, std::initializer_list<Fault> faults = {}) {
  ReputationRow row;
  for (int i = 0; i < good; ++i) Reward(&row, 0);
  for (const Fault fault : faults) Penalise(&row, fault, 0);
  return row;
}

TEST(ReputationTest, StartsAtThePrior) {
  EXPECT_DOUBLE_EQ(MeanOf({}, 0), 0.5);
  EXPECT_EQ(TierOf({}, 0), Tier::kUnproven);
  EXPECT_LT(LowerBoundOf({}, 0), 0.15) << "little is known";
}

TEST(ReputationTest, FaultsWeighWhatTheyAreWorth) {
  const struct {
    Fault fault;
    double weight;
  } cases[] = {{Fault::kTimeout, 2.0},
               {Fault::kMismatch, 3.0},
               {Fault::kHeartbeatLoss, 1.5},
               {Fault::kChecksum, 5.0},
               {Fault::kCrash, 2.5}};
  for (const auto& c : cases) {
    EXPECT_DOUBLE_EQ(MeanOf(After(10, {c.fault}), 0), 11 / (12 + c.weight));
  }
}

TEST(ReputationTest, TheLowerBoundIsWilsons) {
  // Of 12 with 11 good (the prior counts as one of each): computed with scipy's
  // proportion_confint(11, 12, method="wilson"), z = 1.96.
  EXPECT_NEAR(LowerBoundOf(After(10), 0), 0.6461, 1e-4);
  EXPECT_NEAR(LowerBoundOf(After(1000), 0), 0.9943, 3e-4);
  EXPECT_LT(LowerBoundOf(After(2), 0), LowerBoundOf(After(200), 0));
}

TEST(ReputationTest, EvidenceFadesTowardThePrior) {
  const ReputationRow row = After(100, {Fault::kChecksum});
  EXPECT_NEAR(MeanOf(row, kHalfLifeMs), 51 / (52 + 2.5), 1e-9);
  EXPECT_NEAR(MeanOf(row, 60 * kHalfLifeMs), 0.5, 1e-9);
  EXPECT_EQ(TierOf(row, 10 * kHalfLifeMs), Tier::kUnproven);
  EXPECT_EQ(MeanOf(row, -5), MeanOf(row, 0)) << "time that seems to go back changes nothing";
}

TEST(ReputationTest, FadedEvidenceAddsUpLikeFreshOne) {
  ReputationRow row = After(8);
  Reward(&row, kHalfLifeMs);
  EXPECT_NEAR(MeanOf(row, kHalfLifeMs), (1 + 4 + 1) / (2.0 + 4 + 1), 1e-6);
}

TEST(ReputationTest, TiersFollowTheMean) {
  EXPECT_EQ(TierOf(After(2), 0), Tier::kUnproven);
  EXPECT_EQ(TierOf(After(3), 0), Tier::kFair);
  EXPECT_EQ(TierOf(After(5), 0), Tier::kGood);
  EXPECT_EQ(TierOf(After(17), 0), Tier::kGood);
  EXPECT_EQ(TierOf(After(18), 0), Tier::kExcellent);
  EXPECT_EQ(TierOf(After(4, {Fault::kMismatch}), 0), Tier::kPoor);
  EXPECT_EQ(TierOf(After(0, {Fault::kChecksum}), 0), Tier::kBad);
  EXPECT_EQ(ExtraReplicas(Tier::kExcellent), -1);
  EXPECT_EQ(ExtraReplicas(Tier::kFair), 1);
  EXPECT_EQ(ExtraReplicas(Tier::kUnproven), 2);
}

}  // namespace
}  // namespace corpgrid::core
