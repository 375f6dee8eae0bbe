#include "agent/heartbeat.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <thread>

#include "agent/testing.h"

namespace corpgrid::agent {
namespace {

using ::testing::ElementsAre;
using ::testing::UnorderedElementsAre;

class HeartbeatTest : public ::testing::Test {
 protected:
  HeartbeatTest() {
    leases_.Add(Leases({job_.MakeAttempt(1), job_.MakeAttempt(2), job_.MakeAttempt(3)}));
    leases_.Take({}, 0);
    leases_.Take({}, 0);
    leases_.Finished(AttemptId{2}, 1000);  // 1 runs, 2 is finished, 3 is queued
  }

  const crypto::KeyPair key_ = crypto::KeyPair::Generate();
  const TestJob job_{1, Fields({"/bin/true"}), key_};
  TestClock clock_;
  FakeScheduler scheduler_;
  LeaseQueue leases_{1, &clock_};
  std::vector<uint64_t> cancelled_, dropped_;
  std::vector<std::pair<uint64_t, std::string>> given_back_;
  std::vector<std::pair<uint64_t, job::Outcome>> handed_in_;
  Heartbeat heartbeat_{
      {.scheduler = &scheduler_,
       .leases = &leases_,
       .running = [] { return std::vector<RunningAttempt>{{AttemptId{1}, 0.5}}; },
       .cancel =
           [this](AttemptId id) {
             cancelled_.push_back(id.value);
             return true;
           },
       .drop = [this](AttemptId id) { dropped_.push_back(id.value); },
       .give_back = [this](AttemptId id,
                           const std::string& why) { given_back_.emplace_back(id.value, why); },
       .hand_in =
           [this](const FinishedAttempt& finished) {
             handed_in_.emplace_back(finished.attempt.id.value, finished.result.outcome);
           }}};
};

TEST_F(HeartbeatTest, TellsAllThatIsHeldAndHowFarItIs) {
  ASSERT_TRUE(heartbeat_.Beat().ok());
  std::vector<std::pair<uint64_t, double>> told;
  for (const auto& attempt : scheduler_.heartbeats[0].attempts()) {
    told.emplace_back(attempt.attempt_id(), attempt.fraction());
  }
  EXPECT_THAT(told,
              UnorderedElementsAre(std::pair(1, 0.5), std::pair(2, -1.0), std::pair(3, -1.0)));
}

TEST_F(HeartbeatTest, EndsWhatIsWantedNoLonger) {
  for (const uint64_t id : {1, 2, 3, 4}) {
    scheduler_.heartbeat_reply.add_stop()->set_attempt_id(id);
  }
  ASSERT_TRUE(heartbeat_.Beat().ok());
  EXPECT_THAT(cancelled_, ElementsAre(1u));
  EXPECT_THAT(dropped_, ElementsAre(2u));
  EXPECT_THAT(leases_.HeldIds(), ElementsAre(1u));  // until its slot has ended it
}

TEST_F(HeartbeatTest, HandsBackWhatItIsToldTo) {
  for (const uint64_t id : {1, 2, 3}) {
    auto* stop = scheduler_.heartbeat_reply.add_stop();
    stop->set_attempt_id(id);
    stop->set_reason("battery");
    stop->set_give_back(true);
  }
  ASSERT_TRUE(heartbeat_.Beat().ok());
  EXPECT_THAT(cancelled_, ::testing::IsEmpty());
  EXPECT_THAT(given_back_, ElementsAre(std::pair(1, "battery"), std::pair(2, "battery")))
      << "where they do not run this does nothing";
  EXPECT_THAT(handed_in_, ElementsAre(std::pair(3, job::Outcome::kGivenBack)));
  EXPECT_THAT(leases_.HeldIds(), UnorderedElementsAre(1u, 2u, 3u)) << "until their verdicts";
  EXPECT_FALSE(leases_.Take({}, 0).has_value());
}

TEST_F(HeartbeatTest, BeatsUntilItIsStopped) {
  StopSignal stop;
  std::thread thread([&] { heartbeat_.Run(&stop); });
  {
    absl::MutexLock lock(&scheduler_.mutex);
    const auto three = [this] { return scheduler_.heartbeats.size() >= 3; };
    EXPECT_TRUE(scheduler_.mutex.AwaitWithTimeout(absl::Condition(&three), absl::Seconds(20)));
  }
  stop.Stop();
  thread.join();
}

}  // namespace
}  // namespace corpgrid::agent
