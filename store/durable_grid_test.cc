#include "store/durable_grid.h"

#include <string>
#include <utility>

#include "base/testing/faulty_vfs.h"
#include "base/testing/temp_folder.h"
#include "gtest/gtest.h"

namespace corpgrid::store {
namespace {

class SetClock final : public Clock {
 public:
  int64_t MonotonicMs() const override { return now_ms; }
  int64_t WallMs() const override { return 1'000'000; }
  int64_t now_ms = 5'000;
};

DurableGrid::Body Token(const std::string& key) {
  return core::CreateJoinToken{
      {.secret_hash = crypto::Blake3(key), .owner = "ann", .uses_left = 1, .idempotency_key = key}};
}

class DurableGridTest : public ::testing::Test {
 protected:
  DurableGridTest() : store_(*OpenSqlite(folder_ / "state.db")) { Load(); }
  ~DurableGridTest() override {
    grid_.reset();
    store_.reset();  // before its file layer
  }

  void Load() {
    auto grid = DurableGrid::Load({}, store_.get(), &clock_,
                                  [this] { return std::array<uint8_t, 32>{++seeds_}; });
    ASSERT_TRUE(grid.ok()) << grid.status();
    grid_ = *std::move(grid);
  }

  corpgrid::testing::FaultyVfs vfs_;
  corpgrid::testing::TempFolder folder_;
  SetClock clock_;
  uint8_t seeds_ = 0;
  std::unique_ptr<Store> store_;
  std::unique_ptr<DurableGrid> grid_;
};

TEST_F(DurableGridTest, NothingIsWrittenOnTopOfACommitThatFailed) {
  vfs_.write_error = SQLITE_FULL;
  grid_->Apply({Token("lost")});
  EXPECT_TRUE(absl::IsResourceExhausted(grid_->Commit()));
  vfs_.write_error = SQLITE_OK;
  grid_->Apply({Token("late")});
  EXPECT_TRUE(absl::IsUnavailable(grid_->Commit())) << "memory still holds what the store has not";
  const absl::StatusOr<bool> landed = grid_->Reload();
  ASSERT_TRUE(landed.ok()) << landed.status();
  EXPECT_FALSE(*landed);
  EXPECT_TRUE(store_->Load()->join_tokens.empty());
  grid_->Apply({Token("kept")});
  EXPECT_TRUE(grid_->Commit().ok());
  EXPECT_EQ(store_->Load()->join_tokens.size(), 1u);
}

TEST_F(DurableGridTest, AnotherTreeThanTheCommittedOneIsNotGoneOnFrom) {
  grid_->Apply({Token("a")});
  ASSERT_TRUE(grid_->Commit().ok());
  core::WriteBatch hand;
  hand.meta = store_->Load()->meta;
  const std::string frontier = std::exchange(hand.meta->audit_frontier, std::string(32, 'x'));
  ASSERT_TRUE(store_->Commit(hand).ok());
  EXPECT_TRUE(absl::IsDataLoss(grid_->Reload().status()));
  hand.meta->audit_frontier = frontier;
  ASSERT_TRUE(store_->Commit(hand).ok());
  EXPECT_TRUE(grid_->Reload().ok());
}

TEST_F(DurableGridTest, GridTimeNeverGoesBack) {
  clock_.now_ms = 60'000;
  grid_->Apply({Token("a")});
  ASSERT_TRUE(grid_->Commit().ok());
  const int64_t before_ms = store_->Load()->meta.time_ms;
  clock_.now_ms = 10;  // the machine was started anew
  Load();
  clock_.now_ms = 30;
  grid_->Apply({Token("b")});
  ASSERT_TRUE(grid_->Commit().ok());
  EXPECT_EQ(store_->Load()->meta.time_ms, before_ms + 20);
}

TEST_F(DurableGridTest, ReadingBackDoesNotForgetTheTimeThatWasReached) {
  clock_.now_ms = 60'000;
  grid_->Apply({core::Tick{}});  // nothing to commit
  clock_.now_ms = 50'000;
  ASSERT_TRUE(grid_->Reload().ok());
  EXPECT_EQ(grid_->grid().meta().time_ms, 60'000);
}

}  // namespace
}  // namespace corpgrid::store
