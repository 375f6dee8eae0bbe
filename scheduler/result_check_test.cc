// Results that are signed together.

#include "scheduler/result_check.h"

#include "scheduler/test_scheduler.h"

namespace corpgrid::scheduler {
namespace {

using ::testing::ElementsAre;

class BatchTest : public SchedulerTest {
 protected:
  BatchTest() {
    adjust_ = [](job::JobFields* fields) { fields->shards = 3; };
    EXPECT_TRUE(Submit("key", &submitted_).ok());
    ann_ = Agent("ann");
    work_ = ann_->Poll(3, 1000);
    EXPECT_EQ(work_.leases_size(), 3);
    for (const pb::Lease& lease : work_.leases()) {
      EXPECT_TRUE(ann_->Upload(lease, "out", "data").ok());
    }
  }

  std::vector<bool> Verdicts(const pb::SubmitResultRequest& request) {
    std::vector<bool> accepted;
    const pb::SubmitResultResponse response = ann_->HandIn(request);
    for (const auto& verdict : response.verdicts()) accepted.push_back(verdict.accepted());
    return accepted;
  }

  pb::SubmitResponse submitted_;
  std::unique_ptr<TestAgent> ann_;
  pb::PollJobsResponse work_;
};

TEST_F(BatchTest, OneSignatureIsGoodForAllAndKeptForEach) {
  EXPECT_TRUE(ann_->registered.batch_signatures());
  EXPECT_THAT(Verdicts(ann_->MakeBatch(work_, "data")), ElementsAre(true, true, true));
  EXPECT_EQ(JobNow(submitted_.job_id()).state(), "done");
  pb::ListShardsRequest request;
  request.set_job_id(submitted_.job_id());
  request.set_limit(3);
  pb::ListShardsResponse shards;
  ASSERT_TRUE(Call(&pb::Jobs::Stub::ListShards, request, &shards).ok());
  for (const pb::Lease& lease : work_.leases()) {
    const std::string statement = ann_->StatementOf(work_.jobs(0), lease, "data");
    const std::string kept = shards.shards(static_cast<int>(lease.shard())).attempts(0).signature();
    EXPECT_TRUE(audit::VerifyStatement(ann_->public_key(), statement, kept).ok()) << lease.shard();
  }
}

TEST_F(BatchTest, AClaimThatWasNotSignedIsRefusedAlone) {
  pb::SubmitResultRequest request = ann_->MakeBatch(work_, "data");
  request.mutable_results(1)->set_exit_code(1);  // so that nothing but the signature tells
  request.mutable_results(1)->clear_outputs();
  EXPECT_THAT(Verdicts(request), ElementsAre(true, false, true));
}

TEST_F(BatchTest, ASignatureFitsItsOwnResultsAlone) {
  const pb::SubmitResultRequest honest = ann_->MakeBatch(work_, "data");
  pb::SubmitResultRequest changed = honest;
  changed.mutable_results()->SwapElements(0, 1);
  EXPECT_THAT(Verdicts(changed), ElementsAre(false, false, false)) << "another order";
  changed = honest;
  changed.mutable_results()->RemoveLast();
  EXPECT_THAT(Verdicts(changed), ElementsAre(false, false)) << "one less";
  changed = honest;
  changed.mutable_results(2)->set_signature("short");
  EXPECT_THAT(Verdicts(changed), ElementsAre(false, false, false)) << "no hash";
  changed = honest;
  changed.clear_signature();
  EXPECT_THAT(Verdicts(changed), ElementsAre(false, false, false)) << "none";
  changed = honest;
  changed.set_signature(Agent("bob")->MakeBatch(work_, "data").signature());
  EXPECT_THAT(Verdicts(changed), ElementsAre(false, false, false)) << "another's";
  EXPECT_THAT(Verdicts(honest), ElementsAre(true, true, true));
}

TEST_F(BatchTest, AnAttemptThatEndedHindersNoOther) {
  const pb::SubmitResultRequest request = ann_->MakeBatch(work_, "data");
  ASSERT_TRUE(ann_->HandIn(ann_->MakeResult(work_.jobs(0), work_.leases(0), "data")).accepted());
  EXPECT_THAT(Verdicts(request), ElementsAre(true, true, true));
}

}  // namespace
}  // namespace corpgrid::scheduler
