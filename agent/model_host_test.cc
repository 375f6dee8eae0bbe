#include "agent/model_host.h"

#include <atomic>
#include <filesystem>
#include <thread>

#include "base/testing/temp_folder.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace corpgrid::agent {
namespace {

namespace pb = corpgrid::v1;
using ::testing::HasSubstr;

constexpr uint64_t kGiB = uint64_t{1} << 30;

// A device that makes weights of another type for as long as nobody stops it, and whose worker
// program is missing.
class ModelHostTest : public ::testing::Test {
 protected:
  ModelHostTest() {
    for (const char* name : {"slow", "other"}) {
      held_.push_back({.name = name, .digest = std::string(32, 'a'), .path = "f", .bytes = kGiB});
    }
  }

  absl::StatusOr<LocalModel> Make(const std::atomic<bool>& stop,
                                  const std::function<void(double)>& on_progress) {
    const int others = making_++;
    EXPECT_EQ(others, 0) << "one at a time";
    on_progress(0.5);
    while (!stop) std::this_thread::sleep_for(std::chrono::milliseconds(1));
    --making_;
    return absl::CancelledError("stopped");
  }

  static void Order(const std::string& name, const std::string& type, pb::HostOrders* orders) {
    pb::HostOrders::Model* model = orders->add_models();
    model->set_name(name);
    model->set_version(1);
    model->set_digest(std::string(32, 'a'));
    model->mutable_settings()->set_type(type);
  }

  // Once it does, what the device says of the model.
  pb::HostedModel Await(const std::string& name,
                        const std::function<bool(const pb::HostedModel&)>& condition) {
    for (int i = 0; i < 1000; ++i) {
      const pb::HostReport report = host_.Report();
      for (const pb::HostedModel& hosted : report.hosted()) {
        if (hosted.name() == name && condition(hosted)) return hosted;
      }
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
    ADD_FAILURE() << "waited in vain for " << name;
    return {};
  }

  corpgrid::testing::TempFolder folder_;
  resources::ResourceManager resources_{{.limits = {}, .load = {}, .clock = &SystemClock()}};
  std::vector<LocalModel> held_;
  std::atomic<int> making_ = 0;
  ModelHost host_{{.worker_path = folder_ / "missing",
                   .folder = folder_ / "workers",
                   .limit_bytes = 2 * kGiB,
                   .held = [this] { return held_; },
                   .in_type = [this](const LocalModel&, const std::string&, const auto& stop,
                                     const auto& progress) { return Make(stop, progress); },
                   .available_bytes = [] { return 8 * kGiB; },
                   .gpus = nullptr,
                   .resources = &resources_,
                   .clock = &SystemClock()}};
};

TEST_F(ModelHostTest, WeightsInTheMakingTakeNoMemoryAndHoldUpNoOther) {
  pb::HostOrders orders;
  Order("slow", "Q4_0", &orders);
  host_.Follow(orders);
  const auto is_made = [](const pb::HostedModel& hosted) { return hosted.has_quantised(); };
  EXPECT_EQ(Await("slow", is_made).quantised(), 0.5);
  EXPECT_TRUE(host_.Report().quantises());
  EXPECT_EQ(host_.Report().free_bytes(), 2 * kGiB);
  Order("other", "", &orders);
  host_.Follow(orders);
  // It has its turn, though it comes to nothing.
  EXPECT_THAT(
      Await("other",
            [](const pb::HostedModel& hosted) { return hosted.state() == pb::HostedModel::FAILED; })
          .error(),
      HasSubstr("missing"));
  EXPECT_EQ(Await("slow", is_made).state(), pb::HostedModel::LOADING);
}

TEST_F(ModelHostTest, OneTypeIsMadeAfterTheOtherAndAnUnloadStopsIt) {
  pb::HostOrders orders;
  Order("slow", "Q4_0", &orders);
  Order("other", "Q4_0", &orders);
  host_.Follow(orders);
  Await("slow", [&](const pb::HostedModel&) { return making_ == 1; });
  host_.Follow({});
  EXPECT_EQ(host_.Report().hosted_size(), 0);
  EXPECT_EQ(making_, 0);
}

}  // namespace
}  // namespace corpgrid::agent
