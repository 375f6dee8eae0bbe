#include "worker/throttled_channel.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <thread>
#include <vector>

#include "absl/synchronization/mutex.h"
#include "absl/time/clock.h"
#include "base/clock.h"
#include "corpgrid/v1/worker.pb.h"
#include "rpc/status.h"

namespace corpgrid::worker {
namespace {

namespace pb = corpgrid::v1;
using ::testing::HasSubstr;

// Answers each call at once, and remembers when.
class Instant final : public rpc::WorkerChannel {
 public:
  std::unique_ptr<rpc::WorkerCall> Start(std::string_view method, const std::string&,
                                         std::shared_ptr<rpc::CallListener> listener) override {
    {
      const absl::MutexLock lock(&mutex_);
      methods_.emplace_back(method);
      times_.push_back(absl::Now());
    }
    listener->OnEnd(end);
    return std::make_unique<rpc::WorkerCall>();
  }
  absl::Status end;  // of each call

  std::vector<absl::Time> times() const {
    const absl::MutexLock lock(&mutex_);
    return times_;
  }
  std::vector<std::string> methods() const {
    const absl::MutexLock lock(&mutex_);
    return methods_;
  }

 private:
  mutable absl::Mutex mutex_;
  std::vector<std::string> methods_;
  std::vector<absl::Time> times_;
};

class Listener final : public rpc::CallListener {
 public:
  void OnResponse(std::string) override {}
  void OnEnd(absl::Status status) override {
    const absl::MutexLock lock(&mutex_);
    EXPECT_FALSE(end_.has_value()) << "it ended twice";
    end_ = std::move(status);
  }
  absl::Status Wait() {
    const absl::MutexLock lock(&mutex_);
    const auto over = [this] { return end_.has_value(); };
    return mutex_.AwaitWithTimeout(absl::Condition(&over), absl::Seconds(20))
               ? *end_
               : absl::DeadlineExceededError("it did not end");
  }

 private:
  absl::Mutex mutex_;
  std::optional<absl::Status> end_;
};

class ThrottledChannelTest : public ::testing::Test {
 protected:
  void Limit(double per_second) {
    resources_ = std::make_unique<resources::ResourceManager>(resources::ResourceManager::Options{
        .limits = {.requests_per_second = per_second}, .load = {}, .clock = &SystemClock()});
    channel_ = ThrottleCalls(instant_, resources_.get(), room_);
  }

  const std::shared_ptr<Instant> instant_ = std::make_shared<Instant>();
  const std::shared_ptr<AnswerRoom> room_ = std::make_shared<AnswerRoom>();
  std::unique_ptr<resources::ResourceManager> resources_;
  std::shared_ptr<rpc::WorkerChannel> channel_;
};

TEST_F(ThrottledChannelTest, HundredCallersBeginAtTheRateWithinTwoPercent) {
  constexpr int kCallers = 100, kEach = 2;
  constexpr double kRate = 50;
  Limit(kRate);
  std::vector<std::thread> callers;
  for (int i = 0; i < kCallers; ++i) {
    callers.emplace_back([this] {
      for (int n = 0; n < kEach; ++n) {
        const auto listener = std::make_shared<Listener>();
        const auto call = channel_->Start("Generate", "", listener);
        EXPECT_TRUE(listener->Wait().ok());
      }
    });
  }
  for (std::thread& caller : callers) caller.join();
  const std::vector<absl::Time> times = instant_->times();
  ASSERT_EQ(times.size(), kCallers * kEach);
  // By the median over a second's worth, so that one thread that the machine kept waiting does not
  // count.
  std::vector<double> seconds;
  for (size_t i = 0; i + 50 < times.size(); ++i) {
    seconds.push_back(absl::ToDoubleSeconds(times[i + 50] - times[i]));
  }
  std::sort(seconds.begin(), seconds.end());
  EXPECT_NEAR(50 / seconds[seconds.size() / 2], kRate, kRate * 0.02);
}

TEST_F(ThrottledChannelTest, QuestionsThatAreNoAnswersPass) {
  Limit(0.001);
  for (int i = 0; i < 3; ++i) {
    const auto listener = std::make_shared<Listener>();
    const auto call = channel_->Start("Tokenize", "", listener);
    EXPECT_TRUE(listener->Wait().ok());
  }
  EXPECT_EQ(instant_->times().size(), 3u);
}

TEST_F(ThrottledChannelTest, ACallThatIsCancelledGivesItsTurnBack) {
  Limit(1);
  const auto first = std::make_shared<Listener>(), second = std::make_shared<Listener>(),
             third = std::make_shared<Listener>();
  const auto call = channel_->Start("Generate", "", first);
  EXPECT_TRUE(first->Wait().ok());
  auto gone = channel_->Start("Embed", "", second);
  EXPECT_EQ(room_->waiting(), 1u);
  gone.reset();
  EXPECT_EQ(room_->waiting(), 0u);
  EXPECT_TRUE(absl::IsCancelled(second->Wait()));
  const auto later = channel_->Start("Generate", "", third);
  EXPECT_EQ(room_->waiting(), 1u);
  EXPECT_TRUE(third->Wait().ok());
  while (room_->waiting() > 0) std::this_thread::yield();
  const std::vector<absl::Time> times = instant_->times();
  ASSERT_EQ(times.size(), 2u);
  EXPECT_LT(times[1] - times[0], absl::Milliseconds(1500));
  EXPECT_THAT(instant_->methods(), ::testing::ElementsAre("Generate", "Generate"));
}

TEST_F(ThrottledChannelTest, WhoWouldWaitForMoreThanAMinuteIsTold) {
  Limit(0.01);
  const auto first = std::make_shared<Listener>(), second = std::make_shared<Listener>();
  const auto call = channel_->Start("Generate", "", first);
  const auto other = channel_->Start("Generate", "", second);
  EXPECT_TRUE(first->Wait().ok());
  const absl::Status refused = second->Wait();
  EXPECT_TRUE(absl::IsResourceExhausted(refused));
  EXPECT_THAT(std::string(refused.message()), HasSubstr("0.01 requests a second"));
  EXPECT_NEAR(static_cast<double>(rpc::FactsOf(refused).retry_after_s()), 99, 1);
}

TEST_F(ThrottledChannelTest, CountsEmbeddingsThatHaveTooLittleMemory) {
  Limit(0);
  pb::ErrorFacts facts;
  facts.set_needs_bytes(2 << 20);
  for (const absl::Status& end :
       {absl::UnavailableError("it ended"),
        rpc::WithFacts(absl::FailedPreconditionError("too large"), facts)}) {
    instant_->end = end;
    const auto listener = std::make_shared<Listener>();
    const auto call = channel_->Start("Embed", "", listener);
    EXPECT_EQ(listener->Wait(), end);
  }
  EXPECT_THAT(resources_->MetricsText(),
              HasSubstr("corpgrid_vram_limit_errors_total{kind=\"model\"} 1\n"));
}

TEST_F(ThrottledChannelTest, CountsWhatBeganAndWhatWaited) {
  Limit(2);  // so slow that a busy machine has all of them ask before the first wait is over
  std::vector<std::shared_ptr<Listener>> listeners;
  std::vector<std::unique_ptr<rpc::WorkerCall>> calls;
  for (int i = 0; i < 4; ++i) {
    listeners.push_back(std::make_shared<Listener>());
    calls.push_back(channel_->Start("Generate", "", listeners.back()));
  }
  for (const auto& listener : listeners) EXPECT_TRUE(listener->Wait().ok());
  const std::string metrics = resources_->MetricsText();
  EXPECT_THAT(metrics, HasSubstr("corpgrid_requests_total{kind=\"model\"} 4\n"));
  EXPECT_THAT(metrics, HasSubstr("corpgrid_requests_throttled_total{kind=\"model\"} 3\n"));
  EXPECT_THAT(metrics, HasSubstr("corpgrid_throttle_wait_seconds_count{kind=\"model\"} 4\n"));
}

}  // namespace
}  // namespace corpgrid::worker
