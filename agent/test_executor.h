#pragma once

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "agent/executor.h"
#include "agent/testing.h"

namespace corpgrid::agent {
// What the fake sandboxes of a test do and did.
struct World {
  absl::Mutex mutex;
  int started = 0;
  int alive = 0;
  std::vector<runner::SandboxOptions> options;
  std::vector<runner::ShardRequest> requests;
  std::deque<absl::StatusOr<runner::ShardExit>> exits;  // then: exit status 0
  absl::Status start_error;
  bool block = false;  // shards run until they are cancelled
  std::string work;
};

class FakeSession final : public runner::Session {
 public:
  explicit FakeSession(World* world)
      : world_(world), work_(open(world->work.c_str(), O_PATH | O_DIRECTORY)) {}
  ~FakeSession() override {
    absl::MutexLock lock(&world_->mutex);
    --world_->alive;
  }
  absl::StatusOr<runner::ShardExit> Run(const runner::ShardRequest& request) override {
    absl::MutexLock lock(&world_->mutex);
    if (request.prepare) {
      if (absl::Status status = request.prepare(work_.get()); !status.ok()) return status;
    }
    world_->requests.push_back(request);
    cancelled_ = false;
    const auto released = [this] { return !world_->block || cancelled_; };
    world_->mutex.Await(absl::Condition(&released));
    if (cancelled_) return runner::ShardExit{runner::ShardEnd::kCancelled};
    if (world_->exits.empty()) return runner::ShardExit{};
    auto exit = world_->exits.front();
    world_->exits.pop_front();
    return exit;
  }
  bool Alive() const override { return true; }
  void Cancel(int64_t) override {
    absl::MutexLock lock(&world_->mutex);
    cancelled_ = true;
  }
  double Progress() const override { return 0.25; }
  int work_fd() const override { return work_.get(); }
  std::string Stdout(size_t) const override { return "out"; }
  std::string Stderr(size_t) const override { return "err"; }

 private:
  World* const world_;
  UniqueFd work_;
  bool cancelled_ = false;
};

class ExecutorTest : public ::testing::Test {
 protected:
  ExecutorTest() {
    for (const char* name : {"/slots", "/spool", "/work"}) {
      std::filesystem::create_directory(folder_.path() + name);
    }
    world_.work = folder_.path() + "/work";
  }

  void Start(uint32_t slots = 1) {
    executor_ = std::make_unique<Executor>(
        SlotContext{.data_folder = folder_.path(),
                    .runner_path = "/runner",
                    .leases = &leases_,
                    .jobs = &jobs_,
                    .capacity = &capacity_,
                    .resources = &resources_,
                    .scheduler = &scheduler_,
                    .checkpoints = &checkpoints_,
                    .journal = journal_.get(),
                    .begun = begun_.get(),
                    .grid_id = "grid",
                    .hand_in =
                        [this](FinishedAttempt finished) {
                          absl::MutexLock lock(&mutex_);
                          finished_.push_back(std::move(finished));
                        },
                    .start_session = [this](const auto& options) { return StartSession(options); },
                    .stop = &stop_,
                    .clock = &SystemClock()},
        slots);
  }
  absl::StatusOr<std::unique_ptr<runner::Session>> StartSession(
      const runner::SandboxOptions& options) {
    absl::MutexLock lock(&world_.mutex);
    if (!world_.start_error.ok()) return world_.start_error;
    ++world_.started;
    ++world_.alive;
    world_.options.push_back(options);
    return std::make_unique<FakeSession>(&world_);
  }
  // Leases one shard of `job` and returns how it ended.
  const FinishedAttempt& RunOne(const TestJob& job, uint64_t id, uint32_t shard = 0) {
    scheduler_.Serve(job);
    const size_t count = [this] {
      absl::MutexLock lock(&mutex_);
      return finished_.size() + 1;
    }();
    leases_.Add(Leases({job.MakeAttempt(id, shard)}));
    absl::MutexLock lock(&mutex_);
    const auto there = [this, count] { return finished_.size() >= count; };
    EXPECT_TRUE(mutex_.AwaitWithTimeout(absl::Condition(&there), absl::Seconds(20)));
    return finished_.back();
  }
  job::Result ResultOf(const TestJob& job, uint64_t id, runner::ShardExit exit) {
    {
      absl::MutexLock lock(&world_.mutex);
      world_.exits = {exit};
    }
    return RunOne(job, id).result;
  }
  void AwaitFinished(size_t count) {
    absl::MutexLock lock(&mutex_);
    const auto there = [this, count] { return finished_.size() >= count; };
    ASSERT_TRUE(mutex_.AwaitWithTimeout(absl::Condition(&there), absl::Seconds(20)));
  }
  void AwaitRunning(size_t count) {
    absl::MutexLock lock(&world_.mutex);
    const auto there = [this, count] { return world_.requests.size() >= count; };
    ASSERT_TRUE(world_.mutex.AwaitWithTimeout(absl::Condition(&there), absl::Seconds(20)));
  }

  corpgrid::testing::TempFolder folder_;
  World world_;
  FakeScheduler scheduler_;
  const crypto::KeyPair submitter_ = crypto::KeyPair::Generate();
  std::unique_ptr<BundleCache> bundles_ =
      BundleCache::Open(folder_.path() + "/cache", 1 << 20).value();
  JobCache jobs_{&scheduler_, bundles_.get(), [](const auto&) { return true; }, false};
  Capacity capacity_{{.cpus = 2, .memory_bytes = 8ull << 30}};
  resources::ResourceManager resources_{{.limits = {}, .load = {}, .clock = &SystemClock()}};
  LeaseQueue leases_{2, &SystemClock()};
  StopSignal stop_, abort_;
  std::unique_ptr<Begun> begun_ = Begun::Open(folder_.path() + "/begun", 4).value();
  std::unique_ptr<Journal> journal_ = Journal::Open(folder_.path() + "/finished").value();
  Checkpoints checkpoints_{&scheduler_, &abort_};
  absl::Mutex mutex_;
  std::deque<FinishedAttempt> finished_;
  std::unique_ptr<Executor> executor_;
};

}  // namespace corpgrid::agent
