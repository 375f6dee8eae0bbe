// The whole scheduler over a real connection, with honest and dishonest callers.

#include "scheduler/scheduler.h"

#include <string>
#include <thread>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "scheduler/test_scheduler.h"

namespace corpgrid::scheduler {
namespace {

using ::testing::HasSubstr;

TEST_F(SchedulerTest, NobodyGetsInWithoutATokenOrASession) {
  grid_.token = "guess";
  pb::ListJobsResponse jobs;
  EXPECT_EQ(Call(&pb::Jobs::Stub::List, pb::ListJobsRequest(), &jobs).error_code(),
            grpc::StatusCode::UNAUTHENTICATED);
  pb::DrainDeviceResponse drained;
  EXPECT_EQ(Call(&pb::Jobs::Stub::DrainDevice, pb::DrainDeviceRequest(), &drained).error_code(),
            grpc::StatusCode::UNAUTHENTICATED);
  pb::TrustDeviceResponse trusted;
  EXPECT_EQ(Call(&pb::Jobs::Stub::TrustDevice, pb::TrustDeviceRequest(), &trusted).error_code(),
            grpc::StatusCode::UNAUTHENTICATED);
  TestAgent stranger(channel_);
  EXPECT_EQ(stranger.Register("").error_code(), grpc::StatusCode::PERMISSION_DENIED);
  EXPECT_EQ(stranger.Register("cgj1." + std::string(64, '0')).error_code(),
            grpc::StatusCode::PERMISSION_DENIED);
  stranger.registered.set_session("guess");
  pb::PollJobsResponse polled;
  grpc::ClientContext context;
  rpc::PrepareCall(&context, kCallMs, rpc::kSessionKey, "guess");
  EXPECT_EQ(pb::Scheduler::NewStub(channel_)
                ->PollJobs(&context, pb::PollJobsRequest(), &polled)
                .error_code(),
            grpc::StatusCode::UNAUTHENTICATED);
}

TEST_F(SchedulerTest, ASecondSchedulerOnTheFolderIsToldSo) {
  const auto second = Scheduler::Start({.data_folder = folder_.path()});
  ASSERT_FALSE(second.ok());
  EXPECT_THAT(std::string(second.status().message()), HasSubstr("already uses"));
}

TEST_F(SchedulerTest, APortInUseIsAClearError) {
  testing::TempFolder other;
  const auto second =
      Scheduler::Start({.data_folder = other.path(), .listen = scheduler_->address()});
  ASSERT_FALSE(second.ok());
  EXPECT_THAT(std::string(second.status().message()), HasSubstr("the port is in use"));
}

TEST_F(SchedulerTest, SubmittingTwiceMakesOneJobAlsoAcrossARestart) {
  pb::SubmitResponse first, again;
  ASSERT_TRUE(Submit("key", &first).ok());
  ASSERT_TRUE(Submit("key", &again).ok());
  EXPECT_TRUE(again.existed());
  Restart();
  pb::SubmitResponse after;
  ASSERT_TRUE(Submit("key", &after).ok());
  EXPECT_EQ(after.job_id(), first.job_id());
}

TEST_F(SchedulerTest, ASignatureOverAnotherBundleIsRefused) {
  pb::SubmitResponse response;
  EXPECT_EQ(Submit("key", &response, 1, "other bytes").error_code(),
            grpc::StatusCode::PERMISSION_DENIED);
}

TEST_F(SchedulerTest, AJobRunsToItsEndAndItsOutputIsKept) {
  pb::SubmitResponse submitted;
  ASSERT_TRUE(Submit("key", &submitted).ok());
  const auto ann = Agent("ann");
  const pb::PollJobsResponse work = ann->Poll(1, 1000);
  ASSERT_EQ(work.leases_size(), 1);
  std::string spec;
  EXPECT_TRUE(ann->Download(work.leases(0), crypto::Blake3(spec_), &spec).ok());
  EXPECT_EQ(spec, spec_);
  ASSERT_TRUE(ann->Upload(work.leases(0), "out", "data").ok());
  const auto verdict = ann->HandIn(ann->MakeResult(work.jobs(0), work.leases(0), "data"));
  EXPECT_TRUE(verdict.accepted()) << verdict.reason();
  EXPECT_EQ(JobNow(submitted.job_id()).state(), "done");
  Restart();
  rpc::ObjectsClient people(objects_.get(), rpc::kTokenKey, grid_.token);
  std::string out;
  EXPECT_TRUE(people
                  .Get(pb::Grant(), crypto::Blake3("data"), 100,
                       [&](std::string_view part) {
                         out.append(part);
                         return absl::OkStatus();
                       })
                  .ok());
  EXPECT_EQ(out, "data");
}

TEST_F(SchedulerTest, ADeviceReachesNoObjectButItsOwnShards) {
  pb::SubmitResponse submitted;
  ASSERT_TRUE(Submit("key", &submitted, 2).ok());
  const auto ann = Agent("ann"), bob = Agent("bob");
  const pb::PollJobsResponse a = ann->Poll(1, 1000), b = bob->Poll(1, 1000);
  ASSERT_TRUE(ann->Upload(a.leases(0), "out", "secret answer").ok());
  std::string got;
  EXPECT_TRUE(
      absl::IsPermissionDenied(bob->Download(b.leases(0), crypto::Blake3("secret answer"), &got)));
  EXPECT_TRUE(absl::IsPermissionDenied(bob->Upload(a.leases(0), "out", "x").status()))
      << "stolen grant";
  EXPECT_TRUE(absl::IsPermissionDenied(ann->Upload(a.leases(0), "unasked", "x").status()));
  EXPECT_TRUE(absl::IsResourceExhausted(
      ann->Upload(a.leases(0), "out", std::string((64 << 20) + 1, 'x')).status()));
}

TEST_F(SchedulerTest, DishonestResultsChangeTheCountersAlone) {
  pb::SubmitResponse submitted;
  ASSERT_TRUE(Submit("key", &submitted, 2).ok());
  const auto ann = Agent("ann"), bob = Agent("bob");
  const pb::PollJobsResponse a = ann->Poll(1, 1000), b = bob->Poll(1, 1000);
  ASSERT_TRUE(ann->Upload(a.leases(0), "out", "data").ok());
  const pb::Result honest = ann->MakeResult(a.jobs(0), a.leases(0), "data");
  ASSERT_TRUE(ann->HandIn(honest).accepted());

  EXPECT_FALSE(bob->HandIn(honest).accepted()) << "another's result";
  pb::Result copied = honest;
  copied.set_attempt_id(b.leases(0).attempt_id());
  copied.set_lease_token(b.leases(0).token());
  EXPECT_FALSE(bob->HandIn(copied).accepted()) << "another's signature";
  EXPECT_FALSE(bob->HandIn(bob->MakeResult(b.jobs(0), b.leases(0), "data")).accepted())
      << "bytes not uploaded";
  EXPECT_EQ(JobNow(submitted.job_id()).state(), "running");

  ASSERT_TRUE(bob->Upload(b.leases(0), "out", "data").ok());
  EXPECT_TRUE(bob->HandIn(bob->MakeResult(b.jobs(0), b.leases(0), "data")).accepted());
  EXPECT_EQ(JobNow(submitted.job_id()).state(), "done");
  pb::ListDevicesResponse devices;
  ASSERT_TRUE(Call(&pb::Jobs::Stub::ListDevices, pb::ListDevicesRequest(), &devices).ok());
  for (const pb::Device& device : devices.devices()) {
    EXPECT_EQ(device.results_refused(), device.owner() == "bob" ? 3u : 0u);
  }
}

TEST_F(SchedulerTest, ARestartKeepsLeasesAndWhatIsStaged) {
  pb::SubmitResponse submitted;
  ASSERT_TRUE(Submit("key", &submitted).ok());
  const auto ann = Agent("ann");
  const pb::PollJobsResponse work = ann->Poll(1, 1000);
  ASSERT_TRUE(ann->Upload(work.leases(0), "out", "data").ok());
  Restart();
  ASSERT_TRUE(ann->Register("").ok()) << "known by its key";
  EXPECT_TRUE(ann->HandIn(ann->MakeResult(work.jobs(0), work.leases(0), "data")).accepted());
  EXPECT_EQ(JobNow(submitted.job_id()).state(), "done");
}

TEST_F(SchedulerTest, APollWaitsAsLongAsItSaysAndEndsWhenWorkComes) {
  const auto ann = Agent("ann");
  EXPECT_EQ(ann->Poll(1, 200).leases_size(), 0);
  std::thread submitter([this] {
    pb::SubmitResponse submitted;
    EXPECT_TRUE(Submit("key", &submitted).ok());
  });
  EXPECT_EQ(ann->Poll(1, 10'000).leases_size(), 1);
  submitter.join();
}

}  // namespace
}  // namespace corpgrid::scheduler
