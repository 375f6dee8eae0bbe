// What is deleted of removed jobs, and what stays.

#include <chrono>
#include <string>
#include <thread>

#include "fmt/format.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "scheduler/grants.h"
#include "scheduler/staging.h"
#include "scheduler/test_scheduler.h"

namespace corpgrid::scheduler {
namespace {

using ::testing::ElementsAre;

class RemovalTest : public SchedulerTest {
 protected:
  // A job that is done, with "data" as its output.
  uint64_t Done(const std::string& key) {
    pb::SubmitResponse submitted;
    EXPECT_TRUE(Submit(key, &submitted).ok());
    if (!ann_) ann_ = Agent("ann");
    const pb::PollJobsResponse work = ann_->Poll(1, 1000);
    EXPECT_TRUE(ann_->Upload(work.leases(0), "out", "data").ok());
    EXPECT_TRUE(ann_->HandIn(ann_->MakeResult(work.jobs(0), work.leases(0), "data")).accepted());
    return submitted.job_id();
  }

  grpc::Status Remove(uint64_t job) {
    pb::RemoveJobRequest request;
    request.set_job_id(job);
    pb::RemoveJobResponse response;
    return Call(&pb::Jobs::Stub::Remove, request, &response);
  }

  absl::Status GetData() {
    rpc::ObjectsClient people(objects_.get(), rpc::kTokenKey, grid_.token);
    return people.Get(pb::Grant(), crypto::Blake3("data"), 100,
                      [](std::string_view) { return absl::OkStatus(); });
  }

  // Deleting comes after the answer.
  bool DataGoes() {
    for (int i = 0; i < 1000; ++i) {
      if (absl::IsNotFound(GetData())) return true;
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
    return false;
  }

  std::unique_ptr<TestAgent> ann_;
};

TEST_F(RemovalTest, ARemovedJobIsGoneAndWhatAnotherJobMadeAsWellStays) {
  const uint64_t first = Done("first"), second = Done("second");
  ASSERT_TRUE(Remove(first).ok());
  ASSERT_TRUE(Remove(first).ok()) << "a repeated call";
  pb::Job job;
  pb::GetJobRequest get;
  get.set_job_id(first);
  EXPECT_EQ(Call(&pb::Jobs::Stub::Get, get, &job).error_code(), grpc::StatusCode::NOT_FOUND);
  pb::ListJobsResponse list;
  ASSERT_TRUE(Call(&pb::Jobs::Stub::List, pb::ListJobsRequest(), &list).ok());
  ASSERT_EQ(list.jobs_size(), 1);
  EXPECT_EQ(list.jobs(0).id(), second);
  Restart();  // waits for what was being deleted, or goes on with it
  EXPECT_TRUE(GetData().ok());
  ASSERT_TRUE(Remove(second).ok());
  EXPECT_TRUE(DataGoes());
}

TEST_F(RemovalTest, WhatRunsStaysAndStrangersRemoveNothing) {
  pb::SubmitResponse submitted;
  ASSERT_TRUE(Submit("key", &submitted).ok());
  EXPECT_EQ(Remove(submitted.job_id()).error_code(), grpc::StatusCode::FAILED_PRECONDITION);
  EXPECT_EQ(Remove(77).error_code(), grpc::StatusCode::NOT_FOUND);
  const uint64_t done = [&] {
    pb::CancelJobRequest cancel;
    cancel.set_job_id(submitted.job_id());
    pb::Job job;
    EXPECT_TRUE(Call(&pb::Jobs::Stub::Cancel, cancel, &job).ok());
    return submitted.job_id();
  }();
  grid_.token = "guess";
  EXPECT_EQ(Remove(done).error_code(), grpc::StatusCode::UNAUTHENTICATED);
}

// As a crash leaves them that comes after the commit and before the deletion.
TEST(ReconcileTest, WhatIsKeptForJobsThatAreNotThereIsReleased) {
  const testing::TempFolder folder;
  const auto store = *store::OpenSqlite(folder / "state.db");
  core::WriteBatch batch;
  batch.meta = store->Load()->meta;
  batch.jobs.resize(2);
  for (uint64_t id : {1u, 2u}) batch.jobs[id - 1].id = {id};
  batch.job_progress = {{.id = {2}, .state = core::JobState::kRemoved}};
  ASSERT_TRUE(store->Commit(batch).ok());
  const auto objects = *objects::OpenLocalStore(folder / "objects");
  const auto keep = [&](const std::string& owner) {
    const std::string scope = "upload-" + owner;
    const objects::SmallObject small{.scope = scope, .name = "out", .data = owner};
    ASSERT_TRUE(objects->StageSmall({&small, 1}).ok());
    const std::pair<std::string, std::string> kept(scope, owner);
    ASSERT_TRUE(objects->Keep({&kept, 1}).ok());
  };
  for (const std::string owner : {"job-1", "job-2", "job-3", "somebody else"}) keep(owner);
  core::Snapshot empty;
  const auto grid = core::Grid::Load(core::GridConfig(), std::move(empty));
  ASSERT_TRUE(ReconcileStaging(objects.get(), *store, *grid).ok());
  EXPECT_THAT(*objects->Owners(), ElementsAre("job-1", "somebody else"));
  EXPECT_TRUE(*objects->Has(crypto::Blake3("job-1")));
  EXPECT_FALSE(*objects->Has(crypto::Blake3("job-2")));
}

TEST(StagingTest, WhatWasToBeKeptBeforeIsReleasedAsWell) {
  const testing::TempFolder folder;
  const auto objects = *objects::OpenLocalStore(folder / "objects");
  Staging staging(objects.get());
  for (int i = 0; i < 50; ++i) {
    const std::string scope = fmt::format("attempt-{}", i + 1);
    const objects::SmallObject small{.scope = scope, .name = "out", .data = scope};
    ASSERT_TRUE(objects->StageSmall({&small, 1}).ok());
    staging.Keep(scope, JobOwner(JobId{1}));
  }
  staging.Release(JobOwner(JobId{1}));
  ASSERT_TRUE(staging.Flush().ok());
  EXPECT_THAT(*objects->Owners(), ::testing::IsEmpty());
  EXPECT_THAT(*objects->Scopes(), ::testing::IsEmpty());
}

}  // namespace
}  // namespace corpgrid::scheduler
