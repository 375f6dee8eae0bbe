// Results that are compared by their bytes, over real connections.

#include <string>

#include "gtest/gtest.h"
#include "scheduler/test_scheduler.h"

namespace corpgrid::scheduler {
namespace {

class ComparerTest : public SchedulerTest {
 protected:
  uint64_t SubmitNumeric() {
    adjust_ = [](job::JobFields* fields) {
      fields->redundancy = {.replicas = 2,
                            .quorum = 2,
                            .validator = job::Validator::kNumeric,
                            .tolerance = {.absolute = 0.5}};
    };
    pb::SubmitResponse submitted;
    const grpc::Status status = Submit("key", &submitted);
    EXPECT_TRUE(status.ok()) << status.error_message();
    return submitted.job_id();
  }

  // Polls as `agent`, uploads `text` as the output and hands it in.
  static void Answer(TestAgent& agent, const std::string& text) {
    const pb::PollJobsResponse work = agent.Poll(1, 5000);
    ASSERT_EQ(work.leases_size(), 1);
    ASSERT_TRUE(agent.Upload(work.leases(0), "out", text).ok());
    EXPECT_TRUE(agent.HandIn(agent.MakeResult(work.jobs(0), work.leases(0), text)).accepted());
  }

  pb::Job AwaitEnd(uint64_t id) {
    for (int i = 0; i < 200; ++i) {
      pb::Job job = JobNow(id);
      if (job.finished_wall_ms() != 0) return job;
      absl::SleepFor(absl::Milliseconds(50));
    }
    return JobNow(id);
  }

  pb::Shard ShardOf(uint64_t job) {
    pb::ListShardsRequest request;
    request.set_job_id(job);
    pb::ListShardsResponse response;
    EXPECT_TRUE(Call(&pb::Jobs::Stub::ListShards, request, &response).ok());
    return response.shards(0);
  }

  // The bytes of an attempt's output; empty when they are gone.
  std::string BytesOf(const pb::Attempt& attempt) {
    rpc::ObjectsClient client(objects_.get(), rpc::kTokenKey, grid_.token);
    std::string bytes;
    const auto hash = crypto::Hash::FromRaw(attempt.outputs(0).hash());
    (void)client.Get({}, *hash, 1 << 20, [&](std::string_view part) {
      bytes.append(part);
      return absl::OkStatus();
    });
    return bytes;
  }
};

TEST_F(ComparerTest, ResultsThatAreCloseMakeAQuorum) {
  const uint64_t job = SubmitNumeric();
  const auto ann = Agent("ann"), bob = Agent("bob");
  Answer(*ann, "x = 1.0\n");
  Answer(*bob, "x = 1.25\n");
  EXPECT_EQ(AwaitEnd(job).state(), "done");
  EXPECT_EQ(BytesOf(ShardOf(job).attempts(0)), "x = 1.0\n");
}

TEST_F(ComparerTest, ARestartedSchedulerComparesWhatWasHandedIn) {
  const uint64_t job = SubmitNumeric();
  const auto ann = Agent("ann"), bob = Agent("bob");
  Answer(*ann, "1");
  Restart();
  ASSERT_TRUE(bob->Register("").ok());
  Answer(*bob, "1.5");
  EXPECT_EQ(AwaitEnd(job).state(), "done");
}

TEST_F(ComparerTest, WithoutAQuorumEveryAnswerIsKept) {
  const uint64_t job = SubmitNumeric();
  for (uint32_t i = 0; i < job::JobSpec::kMaxReplicas; ++i) {
    const auto agent = Agent("owner" + std::to_string(i));
    Answer(*agent, std::to_string(i * 2));
  }
  const pb::Job ended = AwaitEnd(job);
  EXPECT_EQ(ended.state(), "failed");
  EXPECT_NE(ended.error().find("no 2 of 16 results agree"), std::string::npos) << ended.error();
  Restart();  // Whatever was not settled is settled now, for good.
  const pb::Shard shard = ShardOf(job);
  ASSERT_EQ(shard.attempts_size(), 16);
  for (int i = 0; i < 16; ++i) {
    EXPECT_EQ(shard.attempts(i).state(), "undecided");
    EXPECT_EQ(BytesOf(shard.attempts(i)), std::to_string(i * 2));
  }
}

TEST_F(ComparerTest, AProgramIsRefusedWhereNoneCanRun) {
  adjust_ = [](job::JobFields* fields) {
    fields->redundancy = {.replicas = 2,
                          .quorum = 2,
                          .validator = job::Validator::kProgram,
                          .compare = {"./compare"}};
  };
  pb::SubmitResponse submitted;
  const grpc::Status status = Submit("key", &submitted);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::FAILED_PRECONDITION);
  EXPECT_EQ(status.error_message(), "this scheduler was started without validator programs");
}

}  // namespace
}  // namespace corpgrid::scheduler
