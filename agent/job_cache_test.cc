#include "agent/job_cache.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "agent/testing.h"

namespace corpgrid::agent {
namespace {

using ::testing::HasSubstr;

class JobCacheTest : public ::testing::Test {
 protected:
  absl::Status Get(const TestJob& job) {
    return jobs_.Get(job.MakeAttempt(1), [] { return false; }).status();
  }
  static std::string Message(const absl::Status& status) { return std::string(status.message()); }

  corpgrid::testing::TempFolder folder_;
  FakeScheduler scheduler_;
  const crypto::KeyPair friend_ = crypto::KeyPair::Generate();
  std::unique_ptr<BundleCache> bundles_ =
      BundleCache::Open(folder_.path() + "/cache", 1 << 20).value();
  JobCache jobs_{&scheduler_, bundles_.get(),
                 [this](const crypto::PublicKey& key) { return key == friend_.public_key(); },
                 false};
};

TEST_F(JobCacheTest, GivesTheSpecThatWasSigned) {
  const TestJob job(1, Fields({"/bin/a", "b"}), friend_);
  scheduler_.Serve(job);
  const auto verified = jobs_.Get(job.MakeAttempt(1), [] { return false; }).value();
  EXPECT_EQ(verified->spec->command[1], "b");
  EXPECT_EQ(verified->bundle, nullptr);
  EXPECT_EQ(jobs_.Get(job.MakeAttempt(2), [] { return false; }).value(), verified);
  EXPECT_EQ(scheduler_.fetches[crypto::Blake3(job.spec)], 1);
}

TEST_F(JobCacheTest, RunsNobodysJobsButThoseItTrusts) {
  const crypto::KeyPair stranger = crypto::KeyPair::Generate();
  const TestJob job(1, Fields({"/bin/a"}), stranger);
  scheduler_.Serve(job);
  const absl::Status status = Get(job);
  EXPECT_TRUE(absl::IsPermissionDenied(status));
  EXPECT_EQ(Message(status),
            "signed by " + stranger.public_key().ToText() + " which this device does not trust");
  EXPECT_TRUE(scheduler_.fetches.empty());
}

TEST_F(JobCacheTest, TheSchedulerCannotChangeTheCommand) {
  TestJob job(1, Fields({"/bin/a"}), friend_);
  const TestJob other(1, Fields({"/bin/evil"}), crypto::KeyPair::Generate());
  job.ticket.set_spec_hash(other.ticket.spec_hash());
  scheduler_.Serve(other);
  EXPECT_TRUE(absl::IsPermissionDenied(Get(job)));
}

TEST_F(JobCacheTest, TheSchedulerCannotSendOtherBytes) {
  const TestJob job(1, Fields({"/bin/a"}), friend_);
  scheduler_.Serve(job);
  scheduler_.objects[crypto::Blake3(job.spec)][10] ^= 1;
  const absl::Status status = Get(job);
  EXPECT_TRUE(absl::IsDataLoss(status));
  EXPECT_THAT(Message(status), HasSubstr("spec hash mismatch"));
}

TEST_F(JobCacheTest, ABundleWithOneBitFlippedIsNotUnpacked) {
  const TestJob job(1, Fields({"/bin/a"}), friend_, std::string(10'240, '\0'));
  scheduler_.Serve(job);
  scheduler_.objects[crypto::Blake3(job.bundle)][5000] ^= 1;
  const absl::Status status = Get(job);
  EXPECT_TRUE(absl::IsDataLoss(status));
  EXPECT_THAT(Message(status), HasSubstr("bundle hash mismatch"));
}

TEST_F(JobCacheTest, GivesTheNetworkOnlyWhenItsOwnerSaidSo) {
  job::JobFields fields = Fields({"/bin/a"});
  fields.limits.network = true;
  const TestJob job(1, fields, friend_);
  scheduler_.Serve(job);
  EXPECT_TRUE(absl::IsPermissionDenied(Get(job)));
  JobCache generous(&scheduler_, bundles_.get(), [](const auto&) { return true; }, true);
  EXPECT_TRUE(generous.Get(job.MakeAttempt(1), [] { return false; }).ok());
}

TEST_F(JobCacheTest, OtherHashesUnderAKnownIdAreAnotherJob) {
  const TestJob first(1, Fields({"/bin/a"}), friend_);
  const TestJob second(1, Fields({"/bin/b"}), friend_);
  scheduler_.Serve(first);
  scheduler_.Serve(second);
  ASSERT_TRUE(Get(first).ok());
  EXPECT_EQ(jobs_.Get(second.MakeAttempt(2), [] { return false; }).value()->spec->command[0],
            "/bin/b");
}

TEST_F(JobCacheTest, ForgetsTheOldest) {
  const TestJob first(1, Fields({"/bin/a"}), friend_);
  scheduler_.Serve(first);
  ASSERT_TRUE(Get(first).ok());
  for (uint64_t id = 2; id <= JobCache::kMaxJobs + 1; ++id) {
    const TestJob job(id, Fields({"/bin/a", std::to_string(id)}), friend_);
    scheduler_.Serve(job);
    ASSERT_TRUE(Get(job).ok());
  }
  ASSERT_TRUE(Get(first).ok());
  EXPECT_EQ(scheduler_.fetches[crypto::Blake3(first.spec)], 2);
}

}  // namespace
}  // namespace corpgrid::agent
