#include "agent/lease_queue.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <thread>

#include "agent/testing.h"

namespace corpgrid::agent {
namespace {

using ::testing::IsEmpty;
using ::testing::UnorderedElementsAre;

class LeaseQueueTest : public ::testing::Test {
 protected:
  Attempt Make(uint64_t id, uint64_t job = 1) {
    corpgrid::v1::JobTicket ticket;
    ticket.set_job_id(job);
    return {AttemptId{id}, ShardId{JobId{job}, static_cast<uint32_t>(id)}, "token",
            std::make_shared<const corpgrid::v1::JobTicket>(ticket)};
  }
  void AddMany(uint64_t first, uint64_t count) {
    std::vector<Attempt> attempts;
    for (uint64_t i = 0; i < count; ++i) attempts.push_back(Make(first + i));
    leases_.Add(Leases(attempts));
  }
  void ExpectNoDemandUntilTheFirstIsForgotten() {
    std::atomic<uint32_t> wanted = 0;
    std::thread poller([&] { wanted = leases_.WaitForDemand().shards; });
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    EXPECT_EQ(wanted, 0u);
    leases_.Forget(AttemptId{1});
    poller.join();
    EXPECT_GT(wanted, 0u);
  }
  uint64_t TakeId(JobId preferred = {}) {
    const std::optional<Attempt> attempt = leases_.Take(preferred, 0);
    return attempt ? attempt->id.value : 0;
  }

  TestClock clock_;
  LeaseQueue leases_{2, &clock_};
};

TEST_F(LeaseQueueTest, AsksForItsSlotsAndThenForOneSecondOfWork) {
  EXPECT_EQ(leases_.WaitForDemand().shards, 2u);
  EXPECT_TRUE(leases_.WaitForDemand().idle);
  AddMany(1, 4);
  TakeId();
  leases_.Finished(AttemptId{1}, 100'000);  // 10 a second and slot: 20 ahead, 3 here
  EXPECT_EQ(leases_.WaitForDemand().shards, 2u + 20 - 3);
  EXPECT_FALSE(leases_.WaitForDemand().idle);
}

TEST_F(LeaseQueueTest, PrefetchesAtMostItsBoundAndNothingOfLongShards) {
  AddMany(1, 2);
  TakeId();
  leases_.Finished(AttemptId{1}, 10);
  EXPECT_EQ(leases_.WaitForDemand().shards, 2 + LeaseQueue::kMaxPrefetch - 1);
  for (int i = 0; i < 100; ++i) leases_.Finished(AttemptId{1}, 60'000'000);
  TakeId();
  EXPECT_EQ(leases_.WaitForDemand().shards, 1u);  // the free slot
}

TEST_F(LeaseQueueTest, LearnsAnewHowLongShardsRunAfterAPause) {
  AddMany(1, 1);
  TakeId();
  leases_.Finished(AttemptId{1}, 10);
  leases_.Add({});
  EXPECT_GT(leases_.WaitForDemand().shards, 60u);  // still held: the job may go on
  leases_.Forget(AttemptId{1});
  leases_.Add({});
  EXPECT_EQ(leases_.WaitForDemand().shards, 2u);
}

TEST_F(LeaseQueueTest, WaitsWhileItHasEnough) {
  AddMany(1, 3);
  std::atomic<uint32_t> wanted = 0;
  std::thread poller([&] { wanted = leases_.WaitForDemand().shards; });
  TakeId();
  std::this_thread::sleep_for(std::chrono::milliseconds(20));
  EXPECT_EQ(wanted, 0u);  // one runs, two are queued
  leases_.Stop(AttemptId{2});
  leases_.Stop(AttemptId{3});
  poller.join();
  EXPECT_EQ(wanted, 1u);
}

TEST_F(LeaseQueueTest, AsksForNothingWhileTooManyAreUnjudged) {
  for (uint64_t i = 1; i <= LeaseQueue::kMaxUnjudged; ++i) {
    AddMany(i, 1);
    ASSERT_EQ(TakeId(), i);
    leases_.Finished(AttemptId{i}, 1000);
  }
  ExpectNoDemandUntilTheFirstIsForgotten();
}

TEST_F(LeaseQueueTest, AsksForNothingWhileItsDiskHoldsMuchThatIsUnjudged) {
  AddMany(1, 2);
  TakeId();
  leases_.Finished(AttemptId{1}, 1000, LeaseQueue::kMaxUnjudgedBytes);
  TakeId();
  ExpectNoDemandUntilTheFirstIsForgotten();
}

TEST_F(LeaseQueueTest, RunsALeaseThatIsGivenAgainOnce) {
  AddMany(1, 2);
  EXPECT_EQ(TakeId(), 1u);
  leases_.Finished(AttemptId{1}, 1000);
  AddMany(1, 2);  // 1 is finished, 2 is queued
  EXPECT_EQ(TakeId(), 2u);
  EXPECT_EQ(TakeId(), 0u);
  EXPECT_THAT(leases_.HeldIds(), UnorderedElementsAre(1u, 2u));
  leases_.Forget(AttemptId{1});
  leases_.Forget(AttemptId{2});
  EXPECT_THAT(leases_.HeldIds(), IsEmpty());
}

TEST_F(LeaseQueueTest, IgnoresALeaseWithoutItsJob) {
  corpgrid::v1::PollJobsResponse reply = Leases({Make(1)});
  reply.clear_jobs();
  EXPECT_EQ(leases_.Add(reply), 0u);
  EXPECT_THAT(leases_.HeldIds(), IsEmpty());
}

TEST_F(LeaseQueueTest, PrefersAJobUntilAnotherHasWaitedLong) {
  leases_.Add(Leases({Make(1, 1), Make(2, 2), Make(3, 2), Make(4, 2)}));
  EXPECT_EQ(TakeId(JobId{2}), 2u);
  clock_.now_ms += 5000;
  EXPECT_EQ(TakeId(JobId{2}), 1u);
  EXPECT_EQ(TakeId(JobId{9}), 3u);
}

TEST_F(LeaseQueueTest, StopDropsWhatDoesNotRun) {
  AddMany(1, 3);
  TakeId();
  TakeId();
  leases_.Finished(AttemptId{2}, 1000);
  EXPECT_EQ(leases_.Stop(AttemptId{1}), LeaseQueue::State::kRunning);
  EXPECT_EQ(leases_.Stop(AttemptId{2}), LeaseQueue::State::kFinished);
  EXPECT_EQ(leases_.Stop(AttemptId{3}), LeaseQueue::State::kQueued);
  EXPECT_EQ(leases_.Stop(AttemptId{4}), LeaseQueue::State::kUnknown);
  EXPECT_THAT(leases_.HeldIds(), UnorderedElementsAre(1u));
  EXPECT_EQ(TakeId(), 0u);
}

TEST_F(LeaseQueueTest, CloseEndsAllWaits) {
  AddMany(1, 4);
  std::thread poller([&] { EXPECT_EQ(leases_.WaitForDemand().shards, 0u); });
  LeaseQueue idle(1, &clock_);
  std::thread slot([&] { EXPECT_FALSE(idle.Take({}, 60'000).has_value()); });
  std::this_thread::sleep_for(std::chrono::milliseconds(20));
  leases_.Close();
  idle.Close();
  poller.join();
  slot.join();
  EXPECT_EQ(TakeId(), 0u);
}

}  // namespace
}  // namespace corpgrid::agent
