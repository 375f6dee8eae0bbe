// The audit log in the stores: it only grows.

#include "base/testing/temp_folder.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "store/store.h"
#include "store/test_rows.h"
#include "store/testing/postgres_server.h"

namespace corpgrid::store {
namespace {

using ::testing::IsEmpty;
using ::testing::SizeIs;

class AuditLogTest : public ::testing::TestWithParam<bool> {
 protected:
  void SetUp() override { Reopen(); }
  void Reopen() {
    store_.reset();
    auto store = Open(name_);
    ASSERT_TRUE(store.ok()) << store.status();
    store_ = *std::move(store);
  }
  absl::Status Append(uint64_t index) {
    core::WriteBatch batch;
    batch.meta = store_->Load()->meta;
    batch.meta->audit_size = index + 1;
    batch.meta->audit_frontier = std::string("\0\xff tree", 7);
    batch.audit = {TestAudit(index)};
    return store_->Commit(batch);
  }

  const corpgrid::testing::TempFolder folder_;
  const std::string name_ =
      GetParam() ? testing::PostgresServer::Shared().NewDatabase() : folder_ / "state.db";
  std::unique_ptr<Store> store_;
};

INSTANTIATE_TEST_SUITE_P(Stores, AuditLogTest, ::testing::Bool(),
                         [](const auto& info) { return info.param ? "PostgreSQL" : "SQLite"; });

TEST_P(AuditLogTest, ComesBackInOrderAndInPages) {
  for (uint64_t i = 0; i < 12; ++i) ASSERT_TRUE(Append(i).ok());
  Reopen();
  EXPECT_EQ(store_->Load()->meta.audit_size, 12u);
  EXPECT_EQ(store_->Load()->meta.audit_frontier, std::string("\0\xff tree", 7));
  const std::vector<core::AuditRow> page = *store_->AuditLog(9, 2);
  ASSERT_THAT(page, SizeIs(2));
  EXPECT_EQ(page[0].index, 9u);
  EXPECT_EQ(page[1].index, 10u);
  EXPECT_EQ(page[1].entry, TestAudit(10).entry);
  EXPECT_EQ(page[1].nodes, TestAudit(10).nodes);
  EXPECT_THAT(*store_->AuditLog(12, 2), IsEmpty());
  EXPECT_THAT(*store_->AuditLog(~uint64_t{0}, 2), IsEmpty());
}

TEST_P(AuditLogTest, NoEntryIsEverReplaced) {
  ASSERT_TRUE(Append(0).ok());
  core::WriteBatch batch;
  batch.meta = store_->Load()->meta;
  batch.meta->batch = 17;
  const std::vector<core::AuditRow> refused[] = {{TestAudit(1), TestAudit(0)},
                                                 {TestAudit(1), TestAudit(1)}};
  for (const auto& rows : refused) {
    batch.audit = rows;
    EXPECT_TRUE(absl::IsInternal(store_->Commit(batch)));
    EXPECT_THAT(*store_->AuditLog(0, 9), SizeIs(1));
    EXPECT_NE(store_->Load()->meta.batch, 17u) << "nothing of the batch is there";
  }
}

}  // namespace
}  // namespace corpgrid::store
