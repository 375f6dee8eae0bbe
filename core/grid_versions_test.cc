// Agents of several protocol versions: nothing is leased that they do not understand.

#include <string>
#include <vector>

#include "core/test_grid.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace corpgrid::core {
namespace {

using ::testing::Contains;
using ::testing::Each;
using ::testing::Field;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

class GridVersionsTest : public ::testing::Test, protected TestGrid {
 protected:
  // The agent of `device` is replaced by one of this protocol version.
  Effects Upgrade(DeviceId device, uint32_t protocol) {
    RegisterDevice c{.device = devices_.at(device), .join_secret_hash = {}};
    c.device.protocol = protocol;
    return Apply(c);
  }

  // A job that agents understand from protocol version 2 on.
  JobId SubmitNew(uint32_t shards, const std::string& key) {
    Apply(SetProject{.name = "lab"});
    job::JobFields fields;
    fields.name = "new";
    fields.command = {"/bin/true"};
    fields.shards = shards;
    fields.project = "lab";
    return Submit(fields, key);
  }

  std::vector<std::string> Why(decltype(Command::body) question) {
    return std::get<std::vector<std::string>>(Apply(std::move(question)).reply);
  }

  const DeviceId ann_ = Join("ann");
};

TEST_F(GridVersionsTest, AnOldAgentGetsOnlyWhatItUnderstands) {
  Upgrade(ann_, 1);
  const JobId fresh = SubmitNew(2, "new");
  EXPECT_THAT(PollFor(ann_, 4), IsEmpty());
  const JobId old = Submit(2, 1, 1, 0, "old");
  const std::vector<Lease> leases = last_.leases.empty() ? PollFor(ann_, 4) : last_.leases;
  EXPECT_THAT(leases, SizeIs(2));
  for (const Lease& lease : leases) EXPECT_EQ(lease.shard.job, old);
  EXPECT_THAT(Why(WhyJob{fresh}), Contains(HasSubstr("upgrade the agent")));
}

TEST_F(GridVersionsTest, WhyNamesTheVersions) {
  Upgrade(ann_, 1);
  const JobId fresh = SubmitNew(2, "new");
  EXPECT_THAT(Why(WhyJob{fresh}),
              Contains("1 device may not run it: its agent speaks protocol version 1 and "
                       "understands such jobs from version 2 on; upgrade the agent."));
  EXPECT_THAT(Why(WhyDevice{ann_}), Contains(HasSubstr("Job 1 does not suit it: its agent")));
}

TEST_F(GridVersionsTest, AnUpgradedAgentThatWaitsIsServedAtOnce) {
  Upgrade(ann_, 1);
  SubmitNew(2, "new");
  EXPECT_THAT(PollFor(ann_, 4), IsEmpty());
  EXPECT_THAT(Upgrade(ann_, 2).leases, SizeIs(2));
}

TEST_F(GridVersionsTest, ADowngradedAgentLosesWhatItDoesNotUnderstand) {
  const DeviceId bob = Join("bob");
  SubmitNew(1, "new");
  const std::vector<Lease> fresh = PollFor(ann_, 1);
  ASSERT_THAT(fresh, SizeIs(1));
  const JobId old = Submit(1, 1, 1, 0, "old");
  ASSERT_THAT(PollFor(ann_, 1, {fresh[0].attempt}), SizeIs(1));
  const Effects effects = Upgrade(ann_, 1);
  EXPECT_THAT(effects.ended, SizeIs(1));
  EXPECT_EQ(attempts_.at(fresh[0].attempt).state, AttemptState::kGivenBack);
  EXPECT_THAT(PollFor(ann_, 4),
              Each(Field(&Lease::shard, Field(&ShardId::job, old))));  // given again
  EXPECT_THAT(PollFor(bob, 1), SizeIs(1));
  EXPECT_EQ(reputations_[ann_].expired, 0u);
}

TEST_F(GridVersionsTest, WhatAnAgentSpeaksIsKnownAfterARestart) {
  Upgrade(ann_, 1);
  SubmitNew(2, "new");
  Restart();
  EXPECT_THAT(PollFor(ann_, 4), IsEmpty());
}

}  // namespace
}  // namespace corpgrid::core
