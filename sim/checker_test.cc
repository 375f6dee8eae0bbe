// What the checker makes of a store that it is right or wrong to believe.

#include "sim/checker.h"

#include <memory>
#include <string>
#include <utility>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "sim/memory_store.h"
#include "sim/scheduler.h"
#include "sim/tapped_store.h"

namespace corpgrid::sim {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

// A checker that listens to a scheduler's state, without agents and people.
class CheckerTest : public ::testing::Test {
 protected:
  CheckerTest() { Start(); }

  void Start() {
    auto opened = disk_.Open();
    ASSERT_TRUE(opened.ok()) << opened.status();
    store_ = std::make_unique<TappedStore>(*std::move(opened), &checker_, nullptr);
    auto grid = store::DurableGrid::Load(config_, store_.get(), &clock_,
                                         [this] { return std::array<uint8_t, 32>{++seeds_}; });
    ASSERT_TRUE(grid.ok()) << grid.status();
    grid_ = *std::move(grid);
    checker_.Reloaded(grid_->grid());
  }

  // The power fails; what was written whole is on the disk.
  void Restart() {
    checker_.Crashed();
    disk_.Crash(/*torn=*/false, /*lost=*/false);
    grid_.reset();
    store_.reset();
    Start();
  }

  // Commits a join token for the first owner, among the fault that was ordered.
  absl::Status CommitToken(const std::string& key) {
    grid_->Apply({core::CreateJoinToken{{.secret_hash = crypto::Blake3(key),
                                         .owner = world_.owners()[0].name,
                                         .uses_left = 1,
                                         .idempotency_key = key}}});
    return grid_->Commit();
  }

  void ReadBack() {
    const absl::StatusOr<bool> landed = grid_->Reload();
    ASSERT_TRUE(landed.ok()) << landed.status();
    EXPECT_FALSE(*landed);
    checker_.Reloaded(grid_->grid());
  }

  // The next event, one hundred milliseconds later.
  void Wait() {
    events_.Add(events_.now_ms() + 100, EventKind::kTick);
    events_.Take();
  }

  World world_{1, 4};
  EventQueue events_;
  MachineClock clock_{&events_};
  Digest digest_;
  const core::GridConfig config_;
  Checker checker_{&world_, &events_, config_, &digest_};
  MemoryStorage disk_{1};
  uint8_t seeds_ = 0;
  std::unique_ptr<store::Store> store_;
  std::unique_ptr<store::DurableGrid> grid_;
};

// The bytes of the first commit outlast the second, which the full disk took none of.
TEST_F(CheckerTest, TheFirstOfTwoCommitsThatFailedMayLandInACrash) {
  disk_.FailNextCommit(Fault::kSyncError);
  EXPECT_FALSE(CommitToken("first").ok());
  ReadBack();
  Wait();
  disk_.FailNextCommit(Fault::kDiskFull);
  EXPECT_FALSE(CommitToken("second").ok());
  Restart();
  EXPECT_EQ(grid_->grid().meta().batch, 1u);
  EXPECT_EQ(grid_->grid().meta().audit_size, 1u);
  EXPECT_TRUE(CommitToken("first").ok()) << "it is there and nothing is to be done";
  EXPECT_EQ(grid_->grid().meta().batch, 1u);
  EXPECT_TRUE(CommitToken("third").ok());
  EXPECT_THAT(checker_.messages(), IsEmpty());
}

TEST_F(CheckerTest, TheSecondOfTwoCommitsThatFailedMayLandInACrash) {
  disk_.FailNextCommit(Fault::kSyncError);
  EXPECT_FALSE(CommitToken("first").ok());
  ReadBack();
  disk_.FailNextCommit(Fault::kSyncError);  // at the same moment as the first
  EXPECT_FALSE(CommitToken("second").ok());
  Restart();
  EXPECT_TRUE(CommitToken("second").ok());
  EXPECT_EQ(grid_->grid().meta().batch, 1u);
  EXPECT_TRUE(CommitToken("third").ok());
  EXPECT_THAT(checker_.messages(), IsEmpty());
}

TEST_F(CheckerTest, ACommitThatWasReplacedMayNotLand) {
  disk_.FailNextCommit(Fault::kDiskError);
  EXPECT_FALSE(CommitToken("lost").ok());
  ReadBack();
  EXPECT_TRUE(CommitToken("kept").ok());
  core::WriteBatch stray;
  stray.meta = grid_->grid().meta();
  stray.meta->batch = 2;
  ASSERT_TRUE((*disk_.Open())->Commit(stray).ok());
  (void)grid_->Reload();
  EXPECT_THAT(checker_.messages(), ElementsAre(HasSubstr("the store is at batch 2, not 1")));
}

}  // namespace
}  // namespace corpgrid::sim
