// Which job goes before which, and which device gets none.

#include <string>
#include <vector>

#include "core/test_grid.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace corpgrid::core {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

class OrderTest : public ::testing::Test, protected TestGrid {
 protected:
  static job::JobFields Fields(uint32_t shards = 1) {
    job::JobFields fields;
    fields.name = "test";
    fields.command = {"/bin/true"};
    fields.shards = shards;
    fields.retries = 0;
    return fields;
  }

  JobId SubmitAfter(const std::vector<JobId>& before, const std::string& key) {
    job::JobFields fields = Fields();
    for (const JobId id : before) fields.after.push_back(id.value);
    return Submit(fields, key);
  }

  JobId SubmitWithPriority(int32_t priority, uint32_t shards, const std::string& key) {
    job::JobFields fields = Fields(shards);
    fields.priority = priority;
    return Submit(fields, key);
  }

  Reply TrySubmit(const job::JobFields& fields, const std::string& key) {
    return Apply(SubmitJob{.idempotency_key = key,
                           .spec = *job::JobSpec::Make(fields),
                           .spec_hash = {},
                           .bundle_hash = {},
                           .bundle_bytes = 0,
                           .submitter_key = "",
                           .signature = ""})
        .reply;
  }

  std::vector<Stop> Beat(DeviceId device, const std::vector<Lease>& leases) {
    Heartbeat beat{.device = device, .condition = Power::kMains, .attempts = {}};
    for (const Lease& lease : leases) beat.attempts.push_back({lease.attempt, 0.5});
    return std::get<std::vector<Stop>>(Apply(beat).reply);
  }

  // Beats and ticks for as long as a job waits before it takes a device from another.
  std::vector<Stop> WaitInVain(DeviceId device, const std::vector<Lease>& leases) {
    for (int64_t ms = 0; ms <= Grid::kPatienceMs + Grid::kPreemptEveryMs; ms += 1000) {
      now_ms_ += 1000;
      Apply(Tick{});
      if (std::vector<Stop> stops = Beat(device, leases); !stops.empty()) return stops;
    }
    return {};
  }

  JobState StateOf(JobId job) const { return jobs_.at(job).progress.state; }
  std::string ErrorOf(JobId job) const { return jobs_.at(job).progress.error; }
  static HandedIn GivenBack(const Lease& lease) {
    HandedIn in;
    in.row.attempt = lease.attempt;
    in.row.result = {.outcome = job::Outcome::kGivenBack, .exit_code = 0, .outputs = {}};
    in.lease_token = lease.token;
    return in;
  }
};

TEST_F(OrderTest, AHigherPriorityGoesFirstThenTheOlderJob) {
  const JobId low = SubmitWithPriority(-5, 1, "low"), first = SubmitWithPriority(0, 1, "first"),
              second = SubmitWithPriority(0, 1, "second"), high = SubmitWithPriority(7, 1, "high");
  const DeviceId ann = Join("ann");
  std::vector<JobId> order;
  for (const Lease& lease : PollFor(ann, 4)) order.push_back(lease.shard.job);
  EXPECT_THAT(order, ElementsAre(high, first, second, low));
}

TEST_F(OrderTest, AJobBeginsWhenThoseBeforeItAreDone) {
  const DeviceId ann = Join("ann");
  const JobId a = Submit(Fields(), "a"), b = Submit(Fields(), "b");
  const JobId c = SubmitAfter({a, b}, "c");
  const std::vector<Lease> leases = PollFor(ann, 4);
  ASSERT_THAT(leases, SizeIs(2));
  EXPECT_THAT(std::get<std::vector<std::string>>(Apply(WhyJob{c}).reply),
              Contains("It begins when job 1 is done."));
  HandIn(leases[0], Result(leases[0], "x"));
  Restart();
  EXPECT_THAT(PollFor(ann, 4, {leases[1].attempt}), IsEmpty());
  HandIn(leases[1], Result(leases[1], "x"));
  ASSERT_THAT(last_.leases, SizeIs(1)) << "the device that waits gets it";
  EXPECT_EQ(last_.leases[0].shard.job, c);
}

TEST_F(OrderTest, WhatFollowsAJobThatIsDoneBeginsAtOnceAlsoAfterARestart) {
  const DeviceId ann = Join("ann");
  const JobId a = Submit(Fields(), "a");
  const Lease lease = PollFor(ann, 1).at(0);
  HandIn(lease, Result(lease, "x"));
  Restart();
  SubmitAfter({a}, "b");
  EXPECT_THAT(PollFor(ann, 1), SizeIs(1));
}

TEST_F(OrderTest, AChainFailsWithItsFirstJob) {
  const JobId a = Submit(Fields(), "a");
  std::vector<JobId> chain = {a};
  for (int i = 0; i < 5'000; ++i) {
    chain.push_back(SubmitAfter({chain.back()}, "chain" + std::to_string(i)));
  }
  Apply(CancelJob{a});
  EXPECT_EQ(StateOf(chain[1]), JobState::kFailed);
  EXPECT_EQ(ErrorOf(chain[1]), "job 1, after which it should run, was cancelled");
  EXPECT_EQ(StateOf(chain.back()), JobState::kFailed);
  EXPECT_EQ(ErrorOf(chain.back()), "job 5000, after which it should run, failed");
}

TEST_F(OrderTest, NobodyFollowsAJobThatIsNotThereOrFailed) {
  const JobId a = Submit(Fields(), "a");
  Apply(CancelJob{a});
  Restart();
  job::JobFields fields = Fields();
  fields.after = {a.value};
  EXPECT_EQ(std::get<absl::Status>(TrySubmit(fields, "b")).message(),
            "job 1, after which this one should run, was cancelled");
  fields.after = {99};
  EXPECT_TRUE(absl::IsNotFound(std::get<absl::Status>(TrySubmit(fields, "b"))));
  fields.after = {2};
  EXPECT_TRUE(absl::IsNotFound(std::get<absl::Status>(TrySubmit(fields, "b"))))
      << "a job cannot wait for itself";
  EXPECT_THAT(jobs_, SizeIs(1));
  EXPECT_EQ(Submit(Fields(), "b").value, 2u);
}

TEST_F(OrderTest, AJobEndsAtItsDeadlineAlsoAfterARestart) {
  job::JobFields fields = Fields();
  fields.deadline_ms = 60'000;
  const JobId job = Submit(fields, "a");
  const DeviceId ann = Join("ann");
  const Lease lease = PollFor(ann, 1).at(0);
  now_ms_ += 59'000;
  Apply(Tick{});
  Restart();
  Beat(ann, {lease});
  EXPECT_EQ(StateOf(job), JobState::kRunning);
  now_ms_ += 1'000;
  Apply(Tick{});
  EXPECT_EQ(StateOf(job), JobState::kFailed);
  EXPECT_EQ(ErrorOf(job), "its deadline of 1 min 0 s is over");
  EXPECT_THAT(Beat(ann, {lease}), SizeIs(1)) << "the device hears that it is over";
}

TEST_F(OrderTest, AJobThatWaitsTakesADeviceFromALowerPriority) {
  const DeviceId ann = Join("ann");
  const JobId low = SubmitWithPriority(0, 2, "low");
  const std::vector<Lease> leases = PollFor(ann, 2);
  const JobId high = SubmitWithPriority(1, 1, "high");
  const std::vector<Stop> stops = WaitInVain(ann, leases);
  ASSERT_THAT(stops, SizeIs(1)) << "one is enough";
  EXPECT_TRUE(stops[0].give_back);
  EXPECT_EQ(stops[0].reason, "job 2 goes first");
  const Lease& stopped = stops[0].attempt == leases[0].attempt ? leases[0] : leases[1];
  HandIn(stopped, GivenBack(stopped));
  const std::vector<AttemptId> held = {
      leases[stopped.attempt == leases[0].attempt ? 1 : 0].attempt};
  const std::vector<Lease> next = PollFor(ann, 1, held);
  ASSERT_THAT(next, SizeIs(1));
  EXPECT_EQ(next[0].shard.job, high);
  HandIn(next[0], Result(next[0], "x"));
  now_ms_ += Grid::kMaxFaultPauseMs;
  Beat(ann, {leases[0], leases[1]});
  Apply(Tick{});
  const std::vector<Lease> rest = PollFor(ann, 1, held);
  ASSERT_THAT(rest, SizeIs(1)) << "what was taken away goes on";
  EXPECT_EQ(rest[0].shard, stopped.shard);
  EXPECT_EQ(StateOf(low), JobState::kRunning);
}

TEST_F(OrderTest, ADeviceThatWasToGiveWayToOneThatNeedsItNoMoreGivesWayToTheNext) {
  const DeviceId ann = Join("ann");
  SubmitWithPriority(0, 1, "low");
  const std::vector<Lease> leases = PollFor(ann, 1);
  const JobId high = SubmitWithPriority(1, 1, "high");
  now_ms_ += Grid::kPatienceMs;
  Beat(ann, leases);
  Apply(Tick{});
  Apply(CancelJob{high});
  EXPECT_THAT(Beat(ann, leases), IsEmpty()) << "nobody needs it any more";
  SubmitWithPriority(1, 1, "next");
  const std::vector<Stop> stops = WaitInVain(ann, leases);
  ASSERT_THAT(stops, SizeIs(1));
  EXPECT_EQ(stops[0].reason, "job 3 goes first");
}

TEST_F(OrderTest, AJobThatWaitsAgainWaitsItsTimeAgain) {
  const DeviceId ann = Join("ann"), bob = Join("bob");
  SubmitWithPriority(0, 2, "low");
  const Lease on_ann = PollFor(ann, 1).at(0), on_bob = PollFor(bob, 1).at(0);
  const JobId high = SubmitWithPriority(1, 1, "high");
  now_ms_ += Grid::kPatienceMs;
  Apply(Tick{});  // Ann's attempt is to be given back, but bob is done first.
  HandIn(on_bob, Result(on_bob, "x"));
  const Lease first = PollFor(bob, 1).at(0);
  ASSERT_EQ(first.shard.job, high);
  EXPECT_THAT(Beat(ann, {on_ann}), IsEmpty());
  HandedIn faulty = Result(first, "");
  faulty.row.result = {.outcome = job::Outcome::kDeviceFault, .exit_code = 0, .outputs = {}};
  HandIn(first, faulty);
  EXPECT_THAT(Beat(ann, {on_ann}), IsEmpty()) << "it has not waited yet";
}

TEST_F(OrderTest, NothingIsTakenFromAnEqualOrForWhatDoesNotFit) {
  const DeviceId ann = Join("ann");
  SubmitWithPriority(0, 1, "low");
  const std::vector<Lease> leases = PollFor(ann, 1);
  SubmitWithPriority(0, 1, "equal");
  job::JobFields large = Fields();
  large.priority = 100;
  large.resources.cpus = 64;
  Submit(large, "large");
  EXPECT_THAT(WaitInVain(ann, leases), IsEmpty());
}

TEST_F(OrderTest, ADrainedDeviceFinishesWhatItHasAndGetsNoMore) {
  const DeviceId ann = Join("ann");
  Submit(Fields(3), "a");
  const Lease lease = PollFor(ann, 1).at(0);
  Apply(DrainDevice{.device = ann});
  EXPECT_THAT(Beat(ann, {lease}), IsEmpty());
  EXPECT_TRUE(HandIn(lease, Result(lease, "x")).accepted);
  EXPECT_THAT(PollFor(ann, 1), IsEmpty());
  Submit(Fields(), "b");
  EXPECT_THAT(last_.leases, IsEmpty()) << "new work does not go to it either";
  Restart();
  EXPECT_THAT(PollFor(ann, 1), IsEmpty());
  RegisterDevice again;
  again.device = devices_.at(ann);
  again.device.drained = false;  // a device does not decide this
  Apply(again);
  EXPECT_THAT(PollFor(ann, 1), IsEmpty());
  EXPECT_THAT(std::get<std::vector<std::string>>(Apply(WhyDevice{ann}).reply),
              Contains(HasSubstr("It is drained")));
  EXPECT_THAT(Apply(DrainDevice{.device = ann, .drained = false}).leases, SizeIs(1))
      << "it waits still, and gets work at once";
}

TEST_F(OrderTest, ADeviceThatIsDrainedNowGivesBackWhatItHas) {
  const DeviceId ann = Join("ann"), bob = Join("bob");
  Submit(Fields(2), "a");
  const std::vector<Lease> leases = PollFor(ann, 2);
  Apply(DrainDevice{.device = ann, .now = true});
  const std::vector<Stop> stops = Beat(ann, leases);
  ASSERT_THAT(stops, SizeIs(2));
  EXPECT_TRUE(stops[0].give_back);
  for (const Lease& lease : leases) HandIn(lease, GivenBack(lease));
  EXPECT_THAT(PollFor(bob, 2), SizeIs(2));
  EXPECT_EQ(reputations_[ann].faults, 0u);
  EXPECT_TRUE(
      absl::IsNotFound(std::get<absl::Status>(Apply(DrainDevice{.device = DeviceId{99}}).reply)));
}

}  // namespace
}  // namespace corpgrid::core
