// Which device hosts which model.

#include <string>
#include <vector>

#include "core/test_hosting.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace corpgrid::core {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

TEST_F(HostingTest, GoesToTheDeviceWithTheMostRoomThatHasItsFiles) {
  const DeviceId ann = Join("ann"), bob = Join("bob"), eve = Join("eve");
  Report(Holder(ann, 3 * kGiB));
  Report(Holder(bob, 4 * kGiB));
  HostReport without = Holder(eve);
  without.held.clear();
  Report(without);
  ASSERT_TRUE(Load({.name = "chat"}).ok());
  EXPECT_THAT(Where(), ElementsAre(bob));
  EXPECT_THAT(Report(Holder(ann, 3 * kGiB)), IsEmpty());
  const HostOrders orders = Orders(Holder(bob, 4 * kGiB));
  ASSERT_THAT(orders.models, SizeIs(1));
  EXPECT_EQ(orders.models[0].digest, Digest('a'));
  EXPECT_EQ(View().replicas[0].hosted.state, ReplicaState::kAssigned);
  Report(Hosting(Holder(bob), ReplicaState::kReady));
  EXPECT_EQ(View().replicas[0].hosted.state, ReplicaState::kReady);
  EXPECT_EQ(View().why, "");
}

TEST_F(HostingTest, WhatFitsNowhereIsRefusedWithTheFigures) {
  const DeviceId ann = Join("ann"), bob = Join("bob");
  Report(Holder(ann, kGiB));
  Report(Holder(bob));
  Report(Holder(bob), Power::kBattery);
  const absl::Status status = Load({.name = "chat"});
  EXPECT_TRUE(absl::IsFailedPrecondition(status));
  EXPECT_THAT(std::string(status.message()),
              AllOf(HasSubstr("device 1 \"ann's\": its files alone are 2 GiB, and 1 GiB of the "
                              "8 GiB that models may have are free"),
                    HasSubstr("device 2 \"bob's\": it is on battery")));
  EXPECT_TRUE(View().row.name.empty());
}

TEST_F(HostingTest, WhatNobodyHasIsRefusedWithWhatIsNearest) {
  Report(Holder(Join("ann")));
  const absl::Status status = Load({.name = "chatt"});
  EXPECT_TRUE(absl::IsNotFound(status));
  EXPECT_THAT(std::string(status.message()), HasSubstr("did you mean chat?"));
  EXPECT_TRUE(absl::IsInvalidArgument(Load({.name = "a b"})));
  EXPECT_TRUE(absl::IsInvalidArgument(Load({.name = "chat", .replicas = 0})));
}

TEST_F(HostingTest, DevicesWithOtherFilesOfTheNameAreLeftAlone) {
  const DeviceId ann = Join("ann"), bob = Join("bob");
  Report(Holder(ann, 8 * kGiB, 'a'));
  Report(Holder(bob, 4 * kGiB, 'b'));
  EXPECT_TRUE(absl::IsFailedPrecondition(Load({.name = "chat"})));
  ASSERT_TRUE(Load({.name = "chat", .digest = Digest('b')}).ok());
  EXPECT_THAT(Where(), ElementsAre(bob));
}

TEST_F(HostingTest, ReplicasAreOnDifferentDevices) {
  const DeviceId ann = Join("ann"), bob = Join("bob");
  Report(Holder(ann));
  Report(Holder(bob));
  ASSERT_TRUE(Load({.name = "chat", .replicas = 3}).ok());
  EXPECT_THAT(Where(), ElementsAre(ann, bob));
  EXPECT_THAT(View().why, HasSubstr("it has one replica"));
  // A third device comes, and gets it with its first report.
  const DeviceId eve = Join("eve");
  EXPECT_THAT(Report(Holder(eve)), ElementsAre("chat"));
  EXPECT_EQ(View().why, "");
  // Fewer are wanted.
  ASSERT_TRUE(Load({.name = "chat", .replicas = 1}).ok());
  EXPECT_THAT(Where(), SizeIs(1));
}

TEST_F(HostingTest, RoomIsPromisedOnce) {
  const DeviceId ann = Join("ann");
  HostReport report = Holder(ann, 3 * kGiB);
  report.held.push_back({.name = "other", .digest = Digest('o'), .bytes = 2 * kGiB});
  Report(report);
  ASSERT_TRUE(Load({.name = "chat"}).ok());
  EXPECT_TRUE(absl::IsFailedPrecondition(Load({.name = "other"})));
  Report(report);  // It has not heard of it when it says this.
  EXPECT_TRUE(absl::IsFailedPrecondition(Load({.name = "other"})));
  report = Hosting(report, ReplicaState::kReady);
  report.free_bytes = 2 * kGiB;  // it turned out smaller
  Report(report);
  EXPECT_TRUE(Load({.name = "other"}).ok());
}

TEST_F(HostingTest, AFailureMovesItAndKeepsItAwayForAWhile) {
  const DeviceId ann = Join("ann"), bob = Join("bob");
  Report(Holder(ann));
  Report(Holder(bob, 4 * kGiB));
  ASSERT_TRUE(Load({.name = "chat"}).ok());
  ASSERT_THAT(Where(), ElementsAre(ann));
  EXPECT_THAT(Report(Hosting(Holder(ann), ReplicaState::kFailed, "it needs 9 GiB")), IsEmpty());
  EXPECT_THAT(Where(), ElementsAre(bob));
  Report(Hosting(Holder(bob), ReplicaState::kFailed, "ended by signal 6"));
  EXPECT_THAT(Where(), IsEmpty());
  EXPECT_THAT(View().why, AllOf(HasSubstr("it needs 9 GiB (tried again in 5 s)"),
                                HasSubstr("ended by signal 6")));
  Pass(Hosting::kRetryMs);
  EXPECT_THAT(Where(), ElementsAre(ann));
  // The second time it takes twice as long.
  Report(Hosting(Holder(ann), ReplicaState::kFailed, "it needs 9 GiB"));
  EXPECT_THAT(Where(), ElementsAre(bob));
  Report(Hosting(Holder(bob), ReplicaState::kFailed, "ended by signal 6"));
  EXPECT_THAT(View().why, HasSubstr("it needs 9 GiB (tried again in 10 s)"));
}

TEST_F(HostingTest, ASilentDeviceIsReplacedAndUnloadsWhenItIsBack) {
  const DeviceId ann = Join("ann"), bob = Join("bob");
  Report(Holder(ann));
  ASSERT_TRUE(Load({.name = "chat"}).ok());
  Report(Hosting(Holder(ann), ReplicaState::kReady));
  Pass(GridConfig().lease_ttl_ms() - 1);
  EXPECT_THAT(Where(), ElementsAre(ann));
  Report(Holder(bob));
  Pass(1000);
  EXPECT_THAT(Where(), ElementsAre(bob));
  EXPECT_THAT(Report(Hosting(Holder(ann), ReplicaState::kReady)), IsEmpty());
}

TEST_F(HostingTest, DrainedUnpluggedAndClosedDevicesGiveItUp) {
  const DeviceId ann = Join("ann");
  Report(Holder(ann));
  ASSERT_TRUE(Load({.name = "chat"}).ok());
  EXPECT_THAT(Report(Holder(ann)), ElementsAre("chat"));
  EXPECT_THAT(Report(Holder(ann), Power::kBattery), IsEmpty());
  EXPECT_THAT(Report(Holder(ann)), ElementsAre("chat"));
  Condition closed;
  closed.closed = "closed until 18:00";
  EXPECT_THAT(Report(Holder(ann), closed), IsEmpty());
  EXPECT_THAT(View().why, HasSubstr("it is closed until 18:00"));
  Apply(DrainDevice{ann});
  EXPECT_THAT(Report(Holder(ann)), IsEmpty());
}

TEST_F(HostingTest, IdleModelsSleepUntilSomebodyAsks) {
  const DeviceId ann = Join("ann");
  Report(Holder(ann));
  ASSERT_TRUE(Load({.name = "chat", .idle_ms = 60'000}).ok());
  HostReport report = Hosting(Holder(ann), ReplicaState::kReady);
  report.hosted[0].idle_ms = 60'000;
  EXPECT_THAT(Report(report), ElementsAre("chat"));  // it was asked for just now
  now_ms_ += 60'000;
  report.hosted[0].running = 1;
  EXPECT_THAT(Report(report), ElementsAre("chat"));
  report.hosted[0].running = 0;
  EXPECT_THAT(Report(report), IsEmpty());
  EXPECT_TRUE(View().asleep);
  EXPECT_EQ(View().why, "");
  Report(Holder(ann));
  EXPECT_TRUE(View().asleep);
  EXPECT_TRUE(std::get<absl::Status>(Apply(WakeModel{"chat"}).reply).ok());
  EXPECT_THAT(Report(Holder(ann)), ElementsAre("chat"));
  EXPECT_FALSE(std::get<absl::Status>(Apply(WakeModel{"none"}).reply).ok());
}

TEST_F(HostingTest, ANewLeaderAsksWhoHostsIt) {
  const DeviceId ann = Join("ann"), bob = Join("bob");
  Report(Holder(ann, 3 * kGiB));
  ASSERT_TRUE(Load({.name = "chat"}).ok());
  Restart();
  // The other one comes first and has more room, but ann hosts it already.
  EXPECT_THAT(Report(Holder(bob)), IsEmpty());
  EXPECT_THAT(View().why, HasSubstr("devices are asked"));
  EXPECT_THAT(Report(Hosting(Holder(ann, kGiB), ReplicaState::kReady)), ElementsAre("chat"));
  EXPECT_THAT(Where(), ElementsAre(ann));
}

TEST_F(HostingTest, ANewLeaderPlacesWhatNobodyHosts) {
  const DeviceId ann = Join("ann");
  Report(Holder(ann));
  ASSERT_TRUE(Load({.name = "chat"}).ok());
  Restart();
  EXPECT_THAT(Report(Holder(ann)), IsEmpty());
  Pass(GridConfig().lease_ttl_ms());
  EXPECT_THAT(Report(Holder(ann)), ElementsAre("chat"));
}

TEST_F(HostingTest, UnloadedStaysUnloaded) {
  const DeviceId ann = Join("ann");
  Report(Holder(ann));
  ASSERT_TRUE(Load({.name = "chat"}).ok());
  EXPECT_TRUE(std::get<absl::Status>(Apply(UnloadModel{"chat"}).reply).ok());
  EXPECT_TRUE(absl::IsNotFound(std::get<absl::Status>(Apply(UnloadModel{"chat"}).reply)));
  EXPECT_THAT(Report(Hosting(Holder(ann), ReplicaState::kReady)), IsEmpty());
  Restart();
  EXPECT_THAT(Report(Hosting(Holder(ann), ReplicaState::kReady)), IsEmpty());
}

TEST_F(HostingTest, WhatIsLoadedAnewIsNotReadyBefore) {
  const DeviceId ann = Join("ann");
  Report(Holder(ann));
  ASSERT_TRUE(Load({.name = "chat"}).ok());
  Report(Hosting(Holder(ann), ReplicaState::kReady, "", View().row.version));
  ASSERT_TRUE(Load({.name = "chat", .replicas = 2}).ok());
  EXPECT_EQ(View().replicas[0].hosted.state, ReplicaState::kReady);
  ASSERT_TRUE(Load({.name = "chat", .context = 512}).ok());
  EXPECT_EQ(View().replicas[0].hosted.state, ReplicaState::kLoading);
}

TEST_F(HostingTest, AVersionIsNotGivenAgainToAModelThatWasUnloaded) {
  const DeviceId ann = Join("ann");
  Report(Holder(ann));
  ASSERT_TRUE(Load({.name = "chat", .context = 1024}).ok());
  const HostOrders before = Orders(Holder(ann));
  Apply(UnloadModel{"chat"});
  now_ms_ += 1;
  ASSERT_TRUE(Load({.name = "chat", .context = 2048}).ok());
  // The device has not heard of it, and hosts the older one still.
  const HostOrders after =
      Orders(Hosting(Holder(ann), ReplicaState::kReady, "", before.models.at(0).version));
  EXPECT_NE(after.models.at(0).version, before.models.at(0).version);
  EXPECT_EQ(View().replicas.at(0).hosted.state, ReplicaState::kLoading);
}

TEST_F(HostingTest, DevicesThatWentAreForgotten) {
  const DeviceId ann = Join("ann");
  Report(Holder(ann));
  ASSERT_TRUE(Load({.name = "chat"}).ok());
  Pass(11 * GridConfig().lease_ttl_ms());
  EXPECT_THAT(View().why, HasSubstr("no device that is there has its files"));
  EXPECT_THAT(Report(Holder(ann)), ElementsAre("chat"));
}

TEST_F(HostingTest, AChangeIsLoadedWhereItIs) {
  const DeviceId ann = Join("ann");
  Report(Holder(ann));
  ASSERT_TRUE(Load({.name = "chat", .context = 1024}).ok());
  Report(Hosting(Holder(ann, kGiB), ReplicaState::kReady));
  ASSERT_TRUE(Load({.name = "chat", .context = 2048}).ok());
  const HostOrders orders = Orders(Hosting(Holder(ann, kGiB), ReplicaState::kReady));
  ASSERT_THAT(orders.models, SizeIs(1));
  EXPECT_EQ(orders.models[0].version, 2u);
  EXPECT_EQ(orders.models[0].context, 2048u);
  EXPECT_EQ(View().replicas.at(0).hosted.state, ReplicaState::kLoading);
  Report(Hosting(Holder(ann, kGiB), ReplicaState::kReady, "", 2));
  EXPECT_EQ(View().replicas.at(0).hosted.state, ReplicaState::kReady);
  // So is who has the context: each sequence of its worker, or all together.
  ASSERT_TRUE(Load({.name = "chat", .context = 2048, .shared_memory = true}).ok());
  const HostOrders shared = Orders(Hosting(Holder(ann, kGiB), ReplicaState::kReady, "", 2));
  EXPECT_EQ(shared.models.at(0).version, 3u);
  EXPECT_TRUE(shared.models.at(0).shared_memory);
  ASSERT_TRUE(Load({.name = "chat", .context = 2048}).ok());
  EXPECT_EQ(View().row.version, 4u);
  Report(Hosting(Holder(ann, kGiB), ReplicaState::kReady, "", 4));
  // How many of it there are and how long they live changes none of them.
  ASSERT_TRUE(Load({.name = "chat", .replicas = 2, .context = 2048, .idle_ms = 1000}).ok());
  EXPECT_EQ(Orders(Hosting(Holder(ann, kGiB), ReplicaState::kReady, "", 4)).models.at(0).version,
            4u);
  EXPECT_EQ(View().replicas.at(0).hosted.state, ReplicaState::kReady);
  ASSERT_TRUE(Load({.name = "chat", .context = 2048}).ok());
  // The same again changes nothing.
  last_ = Apply(LoadModel{{.name = "chat", .context = 2048}});
  EXPECT_TRUE(last_.rows.empty());
  EXPECT_EQ(View().replicas.at(0).hosted.state, ReplicaState::kReady);
}

}  // namespace
}  // namespace corpgrid::core
