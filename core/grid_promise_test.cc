// Jobs that ask for a bound of wrong results.

#include <string>
#include <vector>

#include "core/test_trust.h"

namespace corpgrid::core {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

TEST_F(GridTrustTest, ABoundIsRefusedWithoutATrustedDevice) {
  job::JobFields fields;
  fields.name = "bounded";
  fields.command = {"/bin/true"};
  fields.redundancy.max_error = 1e-4;
  const SubmitJob submit{.idempotency_key = "bounded",
                         .spec = *job::JobSpec::Make(fields),
                         .spec_hash = {},
                         .bundle_hash = {},
                         .bundle_bytes = 0,
                         .submitter_key = "",
                         .signature = ""};
  const absl::Status refused = std::get<absl::Status>(Apply(submit).reply);
  EXPECT_TRUE(absl::IsFailedPrecondition(refused));
  EXPECT_THAT(std::string(refused.message()),
              HasSubstr("the smallest bound this grid can reach is 1"));
  EXPECT_THAT(jobs_, IsEmpty());
  JoinTrusted("eve");
  EXPECT_TRUE(std::holds_alternative<Submitted>(Apply(submit).reply)) << "the same key is free";
}

TEST_F(GridTrustTest, WhereEveryShardWouldBeAuditedOnlyTrustedDevicesRun) {
  const DeviceId eve = JoinTrusted("eve");
  const JobId job = SubmitBounded(2, 1e-4);
  EXPECT_THAT(PollFor(ann_, 1), IsEmpty());
  Compute(eve, "x");
  EXPECT_THAT(PollFor(bob_, 1), IsEmpty());
  Compute(eve, "x");
  EXPECT_EQ(ProgressOf(job).state, JobState::kDone);
  EXPECT_EQ(ProgressOf(job).bound_billionths, 0);
  EXPECT_EQ(ProgressOf(job).checked, 2u);
}

class BoundedJobTest : public GridTrustTest {
 protected:
  static constexpr uint32_t kShards = 40;

  // Both give the results of all shards, and lie about one; then some are audited.
  void AcceptAll(uint32_t lie) {
    job_ = SubmitBounded(kShards, 0.2);
    for (const DeviceId device : {ann_, bob_}) {
      std::vector<HandedIn> results;
      for (const Lease& lease : PollFor(device, kShards)) {
        results.push_back(Result(lease, lease.shard.index == lie ? "lie" : "right"));
      }
      ASSERT_THAT(results, SizeIs(kShards));
      Apply(SubmitResults{device, results});
    }
  }

  std::vector<uint32_t> With(AuditState state) const {
    std::vector<uint32_t> shards;
    for (const auto& [id, row] : shards_) {
      if (row.audit == state) shards.push_back(id.index);
    }
    return shards;
  }

  const DeviceId eve_ = JoinTrusted("eve");
  JobId job_;
};

TEST_F(BoundedJobTest, AllIsHeldUntilTheAuditsAreOver) {
  AcceptAll(kShards);
  const size_t audits = With(AuditState::kWanted).size();
  ASSERT_GT(audits, 4u);
  EXPECT_EQ(With(AuditState::kHeld).size(), kShards - audits);
  EXPECT_EQ(ProgressOf(job_).done, 0u);
  for (size_t i = 0; i < audits; ++i) Compute(eve_, "right");
  EXPECT_THAT(PollFor(eve_, 1), IsEmpty());
  Restart();
  Apply(Tick{});
  EXPECT_EQ(ProgressOf(job_).state, JobState::kDone);
  EXPECT_EQ(ProgressOf(job_).audited, audits);
  EXPECT_LE(ProgressOf(job_).bound_billionths, 200'000'000);
}

TEST_F(BoundedJobTest, WhenALieIsFoundAllIsAudited) {
  AcceptAll(kShards);
  const std::vector<uint32_t> audits = With(AuditState::kWanted);
  Compute(eve_, "what nobody said");
  Restart();
  for (uint32_t i = 1; i < kShards; ++i) {
    EXPECT_EQ(ProgressOf(job_).state, JobState::kRunning);
    Compute(eve_, "right");
  }
  EXPECT_EQ(ProgressOf(job_).state, JobState::kDone);
  EXPECT_EQ(ProgressOf(job_).audited, kShards);
  EXPECT_EQ(ProgressOf(job_).found_wrong, 1u);
  EXPECT_EQ(ProgressOf(job_).bound_billionths, 0);
}

TEST_F(BoundedJobTest, AuditsThatAreLostFailNothing) {
  AcceptAll(kShards);
  for (uint32_t i = 0; i <= Grid::kMaxExpired; ++i) {
    ASSERT_THAT(PollFor(eve_, 1), SizeIs(1)) << i;
    now_ms_ += PastTtlMs();
    Apply(Tick{});
  }
  EXPECT_EQ(ProgressOf(job_).state, JobState::kRunning);
}

TEST_F(BoundedJobTest, AnExcellentDeviceRunsAlone) {
  Submit(kShards, 2, 2, 0, "proves");
  for (uint32_t i = 0; i < kShards; ++i) {
    Compute(ann_, "x");
    Compute(bob_, "x");
    Compute(eve_, "x");
  }
  EXPECT_TRUE(MayRunAlone(reputations_.at(ann_), now_ms_));
  SubmitBounded(kShards, 0.2);
  PollFor(bob_, 1);
  const Lease alone = PollFor(ann_, 1).at(0);
  EXPECT_EQ(shards_.at(alone.shard).replicas, 1u);
  HandIn(alone, Result(alone, "x"));
  EXPECT_NE(shards_.at(alone.shard).audit, AuditState::kNone) << "it is accepted";
}

}  // namespace
}  // namespace corpgrid::core
