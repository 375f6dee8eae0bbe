#pragma once

#include <atomic>
#include <deque>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/synchronization/mutex.h"
#include "agent/scheduler_client.h"
#include "agent/slot.h"
#include "base/clock.h"
#include "base/testing/temp_folder.h"
#include "job/spec.h"
#include "job/statement.h"

// What the agent's tests put in the place of the world.
namespace corpgrid::agent {

class TestClock final : public Clock {
 public:
  int64_t MonotonicMs() const override { return now_ms; }
  int64_t WallMs() const override { return now_ms; }
  std::atomic<int64_t> now_ms = 1000;
};

// A job signed by `submitter`, as the scheduler would offer and serve it.
struct TestJob {
  static constexpr char kGrid[] = "grid-of-the-test";

  TestJob(uint64_t id, job::JobFields fields, const crypto::KeyPair& submitter,
          std::string bundle_bytes = "")
      : bundle(std::move(bundle_bytes)) {
    spec = job::JobSpec::Make(std::move(fields)).value().Encode();
    ticket.set_job_id(id);
    ticket.set_spec_hash(std::string(crypto::Blake3(spec).Raw()));
    ticket.set_spec_bytes(spec.size());
    ticket.set_bundle_hash(std::string(crypto::Blake3(bundle).Raw()));
    ticket.set_bundle_bytes(bundle.size());
    ticket.set_submitter_key(std::string(submitter.public_key().Raw()));
    ticket.set_signature(
        submitter.Sign(job::JobStatement(kGrid, crypto::Blake3(bundle), crypto::Blake3(spec))));
  }

  Attempt MakeAttempt(uint64_t id, uint32_t shard = 0) const {
    return {AttemptId{id}, ShardId{JobId{ticket.job_id()}, shard},
            "lease-token-" + std::to_string(id),
            std::make_shared<const corpgrid::v1::JobTicket>(ticket), ""};
  }

  std::string spec;
  std::string bundle;
  corpgrid::v1::JobTicket ticket;
};

inline job::JobFields Fields(std::vector<std::string> command) {
  job::JobFields fields;
  fields.name = "test";
  fields.command = std::move(command);
  fields.shards = 1000;
  return fields;
}

// Answers from memory. What a test scripts into `put_errors`, `submit_errors` or `fetch_errors` is
// returned first, one a call.
class FakeScheduler final : public SchedulerClient {
 public:
  absl::StatusOr<std::shared_ptr<const Registration>> CurrentRegistration() override {
    return std::make_shared<const Registration>(Registration{
        TestJob::kGrid, DeviceId{7}, "owner", "session", 20, 1000, 1, batch_signatures});
  }
  absl::StatusOr<corpgrid::v1::PollJobsResponse> Poll(corpgrid::v1::PollJobsRequest) override {
    return absl::UnimplementedError("the test gives the leases");
  }
  absl::StatusOr<corpgrid::v1::HeartbeatResponse> Heartbeat(
      corpgrid::v1::HeartbeatRequest request) override {
    absl::MutexLock lock(&mutex);
    heartbeats.push_back(std::move(request));
    return std::exchange(heartbeat_reply, {});
  }
  absl::StatusOr<corpgrid::v1::SubmitResultResponse> Submit(
      corpgrid::v1::SubmitResultRequest request) override {
    absl::MutexLock lock(&mutex);
    AwaitOpen();
    ++submit_calls;
    if (absl::Status error = Next(&submit_errors); !error.ok()) return error;
    corpgrid::v1::SubmitResultResponse reply;
    for (const auto& result : request.results()) {
      auto* verdict = reply.add_verdicts();
      verdict->set_attempt_id(result.attempt_id());
      verdict->set_accepted(true);
      results.push_back(result);
    }
    batch_sizes.push_back(request.results_size());
    signatures.push_back(request.signature());
    return reply;
  }
  absl::Status ReportDeath(std::span<const BegunAttempt>) override { return absl::OkStatus(); }
  absl::Status ReportCheckpoint(const Attempt& attempt,
                                const corpgrid::v1::OutputRef& state) override {
    absl::MutexLock lock(&mutex);
    if (absl::Status error = Next(&report_errors); !error.ok()) return error;
    reports.emplace_back(attempt.id.value, state);
    return absl::OkStatus();
  }
  absl::StatusOr<corpgrid::v1::CheckpointResponse> LogCheckpoint(uint64_t old_size) override {
    absl::MutexLock lock(&mutex);
    asked_sizes.push_back(old_size);
    if (!checkpoint_error.ok()) return checkpoint_error;
    return checkpoint_reply;
  }
  absl::Status Fetch(const Attempt&, const crypto::Hash& hash, uint64_t max_bytes,
                     const Sink& sink) override {
    std::string bytes;
    {
      absl::MutexLock lock(&mutex);
      ++fetches[hash];
      if (absl::Status error = Next(&fetch_errors); !error.ok()) return error;
      const auto it = objects.find(hash);
      if (it == objects.end()) return absl::NotFoundError("no such object");
      bytes = it->second;
    }
    if (crypto::Blake3(bytes) != hash) return absl::DataLossError("other bytes");
    if (bytes.size() > max_bytes) return absl::DataLossError("too many bytes");
    return sink(bytes);
  }
  absl::StatusOr<std::vector<corpgrid::v1::StagedObject>> Put(
      std::span<const rpc::ObjectsClient::Upload> uploads) override {
    absl::MutexLock lock(&mutex);
    AwaitOpen();
    ++put_calls;
    if (absl::Status error = Next(&put_errors); !error.ok()) return error;
    std::vector<corpgrid::v1::StagedObject> reply;
    for (const auto& upload : uploads) {
      if (upload.grant.attempt_id() == refused_attempt) {
        return absl::PermissionDeniedError("no such grant");
      }
    }
    for (const auto& upload : uploads) {
      const std::string bytes = upload.read_at(0, 64 << 20).value();
      staged[{upload.grant.attempt_id(), upload.name}] = bytes;
      auto& object = reply.emplace_back();
      object.set_name(upload.name);
      object.set_hash(std::string(crypto::Blake3(damage ? "damaged" : bytes).Raw()));
      object.set_size_bytes(bytes.size());
    }
    return reply;
  }

  void Serve(const TestJob& job) {
    absl::MutexLock lock(&mutex);
    objects[crypto::Blake3(job.spec)] = job.spec;
    objects[crypto::Blake3(job.bundle)] = job.bundle;
  }
  void SetOpen(bool value) {
    absl::MutexLock lock(&mutex);
    open = value;
  }
  // Waits until a call that hands in waits for SetOpen(true).
  void AwaitHeldCall() {
    absl::MutexLock lock(&mutex);
    mutex.Await(absl::Condition(+[](int* count) { return *count > 0; }, &held_calls_));
  }
  // Waits for `count` results.
  void AwaitResults(size_t count) {
    absl::MutexLock lock(&mutex);
    const auto there = [this, count] { return results.size() >= count; };
    mutex.AwaitWithTimeout(absl::Condition(&there), absl::Seconds(20));
  }

  absl::Mutex mutex;
  bool open = true;  // calls that hand in wait for it
  std::map<crypto::Hash, std::string> objects;
  std::map<crypto::Hash, int> fetches;
  std::deque<absl::Status> fetch_errors, put_errors, submit_errors, report_errors;
  std::vector<std::pair<uint64_t, corpgrid::v1::OutputRef>> reports;
  uint64_t refused_attempt = 0;
  bool damage = false;  // uploads arrive with other bytes
  int put_calls = 0;
  int submit_calls = 0;
  std::vector<int> batch_sizes;
  std::vector<std::string> signatures;  // over all results of a call
  bool batch_signatures = false;        // whether it takes them
  std::map<std::pair<uint64_t, std::string>, std::string> staged;
  std::vector<corpgrid::v1::Result> results;
  std::vector<corpgrid::v1::HeartbeatRequest> heartbeats;
  corpgrid::v1::HeartbeatResponse heartbeat_reply;
  std::vector<uint64_t> asked_sizes;
  absl::Status checkpoint_error;  // of every look until it is OK again
  corpgrid::v1::CheckpointResponse checkpoint_reply;

 private:
  static absl::Status Next(std::deque<absl::Status>* errors) {
    if (errors->empty()) return absl::OkStatus();
    absl::Status error = errors->front();
    errors->pop_front();
    return error;
  }
  void AwaitOpen() {
    ++held_calls_;
    mutex.Await(absl::Condition(&open));
    --held_calls_;
  }

  int held_calls_ = 0;
};

inline corpgrid::v1::PollJobsResponse Leases(const std::vector<Attempt>& attempts) {
  corpgrid::v1::PollJobsResponse reply;
  std::map<uint64_t, bool> ticketed;
  for (const Attempt& attempt : attempts) {
    if (!std::exchange(ticketed[attempt.shard.job.value], true)) *reply.add_jobs() = *attempt.job;
    auto* lease = reply.add_leases();
    lease->set_attempt_id(attempt.id.value);
    lease->set_job_id(attempt.shard.job.value);
    lease->set_shard(attempt.shard.index);
    lease->set_token(attempt.lease_token);
    lease->set_checkpoint_hash(attempt.state_hash);
  }
  return reply;
}

}  // namespace corpgrid::agent
