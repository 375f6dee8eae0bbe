#include "agent/executor.h"

#include <filesystem>
#include <fstream>

#include "agent/test_executor.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace corpgrid::agent {
namespace {

using runner::ShardEnd;
using ::testing::Contains;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Pair;

TEST_F(ExecutorTest, RunsTheCommandThatWasSigned) {
  job::JobFields fields = Fields({"/bin/echo", "{shard}/{shards}"});
  fields.env = {{"LANG", "de_DE"}, {"TILE", "t{shard}"}};
  fields.limits.wall_ms = 5000;
  fields.limits.processes = 17;
  const TestJob job(1, fields, submitter_);
  Start();
  const FinishedAttempt& finished = RunOne(job, 1, 42);
  EXPECT_EQ(finished.result, (job::Result{job::Outcome::kExited, 0, {}}));
  EXPECT_EQ(finished.stdout_tail, "out");
  EXPECT_EQ(finished.stderr_tail, "err");
  const runner::ShardRequest& request = world_.requests[0];
  EXPECT_THAT(request.argv, ::testing::ElementsAre("/bin/echo", "42/1000"));
  EXPECT_EQ(request.wall_ms, 5000);
  EXPECT_THAT(request.env, ::testing::UnorderedElementsAre(
                               Pair("PATH", "/usr/local/bin:/usr/bin:/bin"), Pair("HOME", "/work"),
                               Pair("LANG", "de_DE"), Pair("TMPDIR", "/tmp"), Pair("TILE", "t42"),
                               Pair("CORPGRID_SHARD", "42"), Pair("CORPGRID_SHARDS", "1000"),
                               Pair("CORPGRID_PROGRESS_FD", "3")));
  EXPECT_EQ(world_.options[0].processes, 17u);
  EXPECT_EQ(world_.options[0].runner_path, "/runner");
  EXPECT_EQ(world_.options[0].bundle_dir, "");
}

TEST_F(ExecutorTest, KeepsTheSandboxWarmWithinAJobOnly) {
  const TestJob a(1, Fields({"/bin/a"}), submitter_);
  const TestJob b(2, Fields({"/bin/b"}), submitter_);
  Start();
  RunOne(a, 1);
  RunOne(a, 2);
  EXPECT_EQ(world_.started, 1);
  RunOne(b, 3);
  EXPECT_EQ(world_.started, 2);
  EXPECT_EQ(world_.alive, 1);
  EXPECT_EQ(scheduler_.fetches[crypto::Blake3(a.spec)], 1);
}

TEST_F(ExecutorTest, TellsHowShardsEnd) {
  const TestJob job(1, Fields({"/bin/x"}), submitter_);
  Start();
  EXPECT_EQ(ResultOf(job, 1, {ShardEnd::kExited, 3}), (job::Result{job::Outcome::kExited, 3, {}}));
  EXPECT_EQ(ResultOf(job, 2, {ShardEnd::kSignaled, 9}),
            (job::Result{job::Outcome::kSignaled, 9, {}}));
  EXPECT_EQ(ResultOf(job, 3, {ShardEnd::kWallLimit, 9}),
            (job::Result{job::Outcome::kWallLimit, 0, {}}));
  EXPECT_EQ(ResultOf(job, 4, {ShardEnd::kMemoryLimit, 9}),
            (job::Result{job::Outcome::kMemoryLimit, 0, {}}));
  EXPECT_EQ(ResultOf(job, 5, {ShardEnd::kDiskLimit, 9}),
            (job::Result{job::Outcome::kOutputLimit, 0, {}}));
  EXPECT_EQ(ResultOf(job, 6, {ShardEnd::kNotStarted, 2}),
            (job::Result{job::Outcome::kNotStarted, 2, {}}));
  EXPECT_THAT(finished_.back().detail, HasSubstr("/bin/x"));
}

TEST_F(ExecutorTest, CollectsOutputsOfSuccessOnly) {
  job::JobFields fields = Fields({"/bin/x"});
  fields.outputs = {"out-{shard}"};
  const TestJob job(1, fields, submitter_);
  std::ofstream(world_.work + "/out-0") << "bytes";
  Start();
  const job::Result good = ResultOf(job, 1, {});
  ASSERT_EQ(good.outputs.size(), 1u);
  EXPECT_EQ(good.outputs[0], (job::Output{"out-0", crypto::Blake3("bytes"), 5}));
  EXPECT_EQ(finished_.back().outputs[0].data, "bytes");
  EXPECT_THAT(ResultOf(job, 2, {ShardEnd::kExited, 1}).outputs, IsEmpty());
  std::filesystem::remove(world_.work + "/out-0");
  EXPECT_EQ(ResultOf(job, 3, {}).outcome, job::Outcome::kOutputMissing);
}

TEST_F(ExecutorTest, PutsTheShardsInputAloneIntoItsFolder) {
  job::JobFields fields = Fields({"/bin/cat", "{input}"});
  fields.shards = 2;
  fields.inputs = {{"a.txt", crypto::Blake3("A"), 1}, {"b.txt", crypto::Blake3("BB"), 2}};
  const TestJob job(1, fields, submitter_);
  scheduler_.objects[crypto::Blake3("A")] = "A";
  scheduler_.objects[crypto::Blake3("BB")] = "BB";
  Start();
  RunOne(job, 1, 0);
  RunOne(job, 2, 1);
  const std::string input = world_.options[0].input_dir;
  std::string text;
  std::ifstream(input + "/b.txt") >> text;
  EXPECT_EQ(text, "BB");
  EXPECT_FALSE(std::filesystem::exists(input + "/a.txt"));
  EXPECT_THAT(world_.requests[1].argv, Contains("/input/b.txt"));
  EXPECT_THAT(world_.requests[1].env, Contains(Pair("CORPGRID_INPUT", "/input/b.txt")));
}

TEST_F(ExecutorTest, ReplacesASandboxThatBreaks) {
  const TestJob job(1, Fields({"/bin/x"}), submitter_);
  world_.exits = {absl::UnavailableError("the runner died"),
                  absl::UnavailableError("the runner died"),
                  runner::ShardExit{ShardEnd::kExited, 5}};
  Start();
  EXPECT_EQ(RunOne(job, 1).result, (job::Result{job::Outcome::kExited, 5, {}}));
  EXPECT_EQ(world_.started, 3);
  EXPECT_EQ(world_.alive, 1);
}

TEST_F(ExecutorTest, ADeviceThatCannotMakeSandboxesSaysSo) {
  const TestJob job(1, Fields({"/bin/x"}), submitter_);
  world_.start_error = absl::FailedPreconditionError("no bubblewrap here");
  Start();
  const FinishedAttempt& finished = RunOne(job, 1);
  EXPECT_EQ(finished.result.outcome, job::Outcome::kDeviceFault);
  EXPECT_THAT(finished.detail, HasSubstr("no bubblewrap here"));
}

TEST_F(ExecutorTest, RefusesShardsThatWereNotSigned) {
  job::JobFields fields = Fields({"/bin/x"});
  fields.shards = 3;
  Start();
  const FinishedAttempt& finished = RunOne(TestJob(1, fields, submitter_), 1, 3);
  EXPECT_EQ(finished.result.outcome, job::Outcome::kDeviceFault);
  EXPECT_THAT(world_.requests, IsEmpty());
}

// It once counted as a fault of the device, of every device.
TEST_F(ExecutorTest, ABundleThatCannotBeUnpackedIsAnOutcomeOfTheJob) {
  const TestJob job(1, Fields({"/bin/x"}), submitter_, "no archive");
  scheduler_.objects[crypto::Blake3("no archive")] = "no archive";
  Start();
  for (uint64_t id : {1, 2}) {
    const FinishedAttempt& finished = RunOne(job, id);
    EXPECT_EQ(finished.result, (job::Result{job::Outcome::kNotStarted, EBADMSG, {}}));
    EXPECT_THAT(finished.detail, HasSubstr("bundle"));
  }
  EXPECT_EQ(scheduler_.fetches[crypto::Blake3("no archive")], 1);
  EXPECT_THAT(world_.requests, IsEmpty());
}

TEST_F(ExecutorTest, ShardsShareTheProcessors) {
  job::JobFields fields = Fields({"/bin/x"});
  fields.resources.cpus = 2;
  const TestJob job(1, fields, submitter_);
  scheduler_.Serve(job);
  world_.block = true;
  Start(2);
  leases_.Add(Leases({job.MakeAttempt(1), job.MakeAttempt(2)}));
  AwaitRunning(1);
  while (executor_->Running().size() < 2) std::this_thread::yield();
  absl::SleepFor(absl::Milliseconds(50));
  {
    absl::MutexLock lock(&world_.mutex);
    EXPECT_EQ(world_.requests.size(), 1u) << "both processors are taken";
  }
  EXPECT_TRUE(executor_->Cancel(AttemptId{1}));
  EXPECT_TRUE(executor_->Cancel(AttemptId{2}));
}

TEST_F(ExecutorTest, WaitsForASchedulerThatIsAway) {
  const TestJob job(1, Fields({"/bin/x"}), submitter_);
  scheduler_.fetch_errors = {absl::UnavailableError("gone"), absl::UnauthenticatedError("who?")};
  Start();
  EXPECT_TRUE(RunOne(job, 1).result.succeeded());
}

TEST_F(ExecutorTest, ACancelledShardLeavesNoResult) {
  const TestJob job(1, Fields({"/bin/x"}), submitter_);
  scheduler_.Serve(job);
  world_.block = true;
  Start(2);
  leases_.Add(Leases({job.MakeAttempt(1), job.MakeAttempt(2)}));
  AwaitRunning(2);
  const std::vector<RunningAttempt> running = executor_->Running();
  ASSERT_EQ(running.size(), 2u);
  EXPECT_EQ(running[0].progress, 0.25);
  EXPECT_FALSE(executor_->Cancel(AttemptId{3}));
  EXPECT_TRUE(executor_->Cancel(AttemptId{1}));
  while (leases_.HeldIds().size() > 1) std::this_thread::yield();
  EXPECT_THAT(leases_.HeldIds(), ::testing::ElementsAre(2u));
  EXPECT_EQ(executor_->Running().size(), 1u);
  absl::MutexLock lock(&mutex_);
  EXPECT_TRUE(finished_.empty());
}

TEST_F(ExecutorTest, StopHandsEverythingBack) {
  const TestJob job(1, Fields({"/bin/x"}), submitter_);
  scheduler_.Serve(job);
  world_.block = true;
  Start(2);
  leases_.Add(Leases({job.MakeAttempt(1), job.MakeAttempt(2), job.MakeAttempt(3)}));
  AwaitRunning(2);
  executor_->Stop();
  EXPECT_EQ(world_.alive, 0);
  ASSERT_EQ(finished_.size(), 2u);
  for (const FinishedAttempt& finished : finished_) {
    EXPECT_EQ(finished.result.outcome, job::Outcome::kGivenBack);
  }
  EXPECT_THAT(leases_.TakeAllQueued(), ::testing::SizeIs(1));
}

}  // namespace
}  // namespace corpgrid::agent
