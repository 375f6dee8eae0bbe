// Hosting where devices differ: in what their agents know, their GPUs and their faults.

#include <string>

#include "core/test_hosting.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace corpgrid::core {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

TEST_F(HostingTest, WeightsOfAnotherTypeMayFitWhereItsFilesDoNot) {
  const DeviceId ann = Join("ann"), bob = Join("bob");
  Report(Holder(ann, 4 * kGiB));
  EXPECT_THAT(std::string(Load({.name = "chat", .type = "Q4_K_M"}).message()),
              HasSubstr("too old to change types of weights"));
  ASSERT_TRUE(Load({.name = "chat"}).ok());
  EXPECT_FALSE(Load({.name = "chat", .type = "Q4_K_M"}).ok()) << "who has it cannot, either";
  HostReport small = Holder(bob, kGiB);
  small.quantises = true;
  Report(small);
  EXPECT_FALSE(Load({.name = "chat", .type = "../x"}).ok());
  ASSERT_TRUE(Load({.name = "chat", .type = "q4_k_m"}).ok());
  Report(Holder(ann, 4 * kGiB));  // gives it up
  Report(small);
  EXPECT_THAT(Where(), ElementsAre(bob));
  EXPECT_EQ(View().row.type, "Q4_K_M");
  small.quantises = false;  // an older program came back
  EXPECT_THAT(Report(small), IsEmpty());
  small.quantises = true;
  EXPECT_THAT(Report(small), ElementsAre("chat"));
  const uint64_t version = View().row.version;
  ASSERT_TRUE(Load({.name = "chat", .type = "Q8_0"}).ok());
  EXPECT_GT(View().row.version, version) << "its worker has to load it anew";
}

TEST_F(HostingTest, AnOldAgentIsNotAskedForWhatItWouldNotHeed) {
  const DeviceId ann = Join("ann");
  HostReport old = Holder(ann);
  old.shares_memory = old.limits_memory = false;
  Report(old);
  EXPECT_THAT(std::string(Load({.name = "chat", .shared_memory = true}).message()),
              HasSubstr("too old to share memory"));
  EXPECT_THAT(std::string(Load({.name = "chat", .memory_bytes = kGiB}).message()),
              HasSubstr("too old to limit a model's memory"));
  Report(Holder(ann));
  EXPECT_THAT(std::string(Load({.name = "chat", .memory_bytes = kGiB}).message()),
              HasSubstr("its files alone are 2 GiB, and it may have 1 GiB"));
  ASSERT_TRUE(Load({.name = "chat", .memory_bytes = 3 * kGiB}).ok());
  EXPECT_EQ(Orders(Holder(ann)).models.at(0).memory_bytes, 3 * kGiB);
  ASSERT_TRUE(Load({.name = "chat", .memory_bytes = 4 * kGiB}).ok());
  EXPECT_EQ(View().row.version, 2u) << "its worker has to be told";
}

TEST_F(HostingTest, TellsTheLastFailureAlsoWhenItIsBack) {
  const DeviceId ann = Join("ann"), bob = Join("bob");
  Report(Holder(bob, 3 * kGiB));
  Report(Holder(ann));
  ASSERT_TRUE(Load({.name = "chat"}).ok());
  EXPECT_FALSE(View().last_failure);
  Report(Hosting(Holder(ann), ReplicaState::kFailed, "ended by signal 6: out of luck"));
  Pass(700);
  Report(Hosting(Holder(bob, 3 * kGiB), ReplicaState::kReady));
  EXPECT_EQ(View().why, "");
  ASSERT_TRUE(View().last_failure);
  EXPECT_EQ(View().last_failure->device_name, "ann's");
  EXPECT_EQ(View().last_failure->error, "ended by signal 6: out of luck");
  EXPECT_EQ(View().last_failure->ago_ms, 700);
  ASSERT_TRUE(Load({.name = "chat", .context = 2048}).ok());
  EXPECT_FALSE(View().last_failure) << "that was another one";
}

TEST_F(HostingTest, AGpuHasRoomWhereTheMachineHasNone) {
  const DeviceId device = Join("ann");
  HostReport report = Holder(device, kGiB);
  Report(report);
  EXPECT_THAT(std::string(Load({.name = "chat"}).message()),
              HasSubstr("1 GiB of the 8 GiB that models may have are free"));
  report.gpus = {{.backend = "vulkan", .limit_bytes = 4 * kGiB, .free_bytes = kGiB},
                 {.backend = "vulkan", .limit_bytes = 6 * kGiB, .free_bytes = 3 * kGiB}};
  Report(report);
  EXPECT_EQ(Load({.name = "chat"}), absl::OkStatus());
  EXPECT_THAT(Report(report), ElementsAre("chat"));
  report.gpus[1].free_bytes = 0;
  Report(Hosting(report, ReplicaState::kFailed, "no room"));
  EXPECT_THAT(View().why, HasSubstr("no room"));
}

}  // namespace
}  // namespace corpgrid::core
