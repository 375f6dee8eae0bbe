#include "agent/outbox.h"

#include <gtest/gtest.h>

#include <string>
#include <thread>

#include "absl/synchronization/notification.h"

namespace corpgrid::agent {
namespace {

namespace pb = corpgrid::v1;

pb::RelayUp Answer(uint64_t call, size_t bytes) {
  pb::RelayUp up;
  up.set_call(call);
  up.set_response(std::string(bytes, 'x'));
  return up;
}

TEST(OutboxTest, OneGreedyCallIsFullAndOthersGoOn) {
  constexpr size_t kMany = Outbox::kMaxWaitingBytes / 8;
  Outbox outbox;
  EXPECT_FALSE(outbox.IsFullFor(1));
  outbox.Put(Answer(2, 100));
  for (int i = 0; i < 8; ++i) outbox.Put(Answer(1, kMany));
  EXPECT_TRUE(outbox.IsFullFor(1));
  EXPECT_FALSE(outbox.IsFullFor(2));
  EXPECT_FALSE(outbox.IsFullFor(3)) << "has nothing here";
  EXPECT_EQ(outbox.Take()->call(), 2u);
  EXPECT_EQ(outbox.Take()->response().size(), kMany);
  EXPECT_FALSE(outbox.IsFullFor(1)) << "there is room again";
}

TEST(OutboxTest, WhoWaitsForTheNextHearsOfItAndOfTheEnd) {
  Outbox outbox;
  absl::Notification taken;
  std::thread writer([&] {
    EXPECT_EQ(outbox.Take()->call(), 1u);
    taken.Notify();
    EXPECT_FALSE(outbox.Take());
  });
  outbox.Put(Answer(1, 0));
  taken.WaitForNotification();
  outbox.Close();
  writer.join();
  outbox.Put(Answer(1, 1));
  EXPECT_FALSE(outbox.Take());
}

}  // namespace
}  // namespace corpgrid::agent
