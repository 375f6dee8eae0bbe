// Agents whose shards are nothing to do, for `./dev bench dispatch`: each has an identity and a
// connection of its own, polls, signs a result for each lease it gets, and hands them in. usage:
// bench_noop_agents ADDRESS TOKEN AGENTS SHARDS_PER_CALL
// Each line of its input is a number of seconds, for which they work; it is answered by a line of
// JSON, once nothing is under way any more.

#include <sys/resource.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdlib>
#include <iostream>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "absl/synchronization/mutex.h"
#include "audit/batch_signature.h"
#include "bench/support/fleet.h"
#include "job/statement.h"
#include "rpc/connect.h"

namespace corpgrid::bench {
namespace {

namespace pb = corpgrid::v1;

constexpr uint32_t kPollMs = 500;
constexpr auto kWarmUp = std::chrono::seconds(1);  // before what counts, in each turn

// What the agents have done, all together.
struct Work {
  std::atomic<bool> goes_on = false;
  std::atomic<uint64_t> accepted = 0;  // results

  absl::Mutex mutex;
  size_t active ABSL_GUARDED_BY(mutex) = 0;
};

uint64_t Accepted(const pb::SubmitResultResponse& reply) {
  return static_cast<uint64_t>(std::count_if(reply.verdicts().begin(), reply.verdicts().end(),
                                             [](const auto& v) { return v.accepted(); }));
}

class Agent {
 public:
  Agent(const std::string& address, size_t number, uint32_t batch, Work* work)
      : number_(number), batch_(batch), work_(work), stub_(NewConnection(address, number)) {}

  void Join(const std::string& token) { known_ = Register(stub_.get(), token, key_, number_); }

  void Poll() {
    if (!work_->goes_on) {
      const absl::MutexLock lock(&work_->mutex);
      --work_->active;
      return;
    }
    PrepareContext(&poll_context_);
    poll_.mutable_condition()->set_source(pb::Condition::MAINS);
    poll_.set_max_shards(batch_);
    poll_.set_wait_ms(kPollMs);
    leases_.Clear();
    stub_->async()->PollJobs(&*poll_context_, &poll_, &leases_, [this](const grpc::Status& status) {
      if (!status.ok()) Die("PollJobs: " + status.error_message());
      if (leases_.leases().empty()) return Poll();
      Submit();
    });
  }

 private:
  void PrepareContext(std::optional<grpc::ClientContext>* context) const {
    context->emplace();
    rpc::PrepareCall(&**context, kCallMs, rpc::kSessionKey, known_.session());
  }

  void Submit() {
    FillResults();
    PrepareContext(&submit_context_);
    stub_->async()->SubmitResult(&*submit_context_, &results_, &verdicts_,
                                 [this](const grpc::Status& status) {
                                   if (!status.ok()) Die("SubmitResult: " + status.error_message());
                                   work_->accepted += Accepted(verdicts_);
                                   Poll();
                                 });
  }

  std::string StatementOf(const pb::Lease& lease, const job::Result& result) const {
    return job::ResultStatement{.grid_id = known_.grid_id(),
                                .device = {known_.device_id()},
                                .shard = {{lease.job_id()}, lease.shard()},
                                .attempt = {lease.attempt_id()},
                                .lease_token = lease.token(),
                                .bundle = HashOf(leases_.jobs(0).bundle_hash()),
                                .spec = HashOf(leases_.jobs(0).spec_hash()),
                                .result_key = result.Key()}
        .Encode();
  }

  void FillResults() {
    const job::Result nothing{.outcome = job::Outcome::kExited, .exit_code = 0, .outputs = {}};
    std::vector<audit::TreeHash> leaves;
    results_.Clear();
    results_.mutable_condition()->set_source(pb::Condition::MAINS);
    for (const pb::Lease& lease : leases_.leases()) {
      pb::Result* result = results_.add_results();
      result->set_attempt_id(lease.attempt_id());
      result->set_lease_token(lease.token());
      result->set_outcome(static_cast<uint32_t>(nothing.outcome));
      leaves.push_back(audit::LeafHash(StatementOf(lease, nothing)));
      result->set_signature(std::string(leaves.back().Raw()));
      result->set_wall_ms(1);
      result->set_cpu_ms(1);
      result->set_max_rss_bytes(1 << 20);
    }
    results_.set_signature(audit::SignBatch(key_, leaves));
  }

  static crypto::Hash HashOf(const std::string& raw) {
    const auto hash = crypto::Hash::FromRaw(raw);
    return hash.ok() ? *hash : crypto::Hash{};
  }

  const size_t number_;
  const uint32_t batch_;
  Work* const work_;
  const crypto::KeyPair key_ = crypto::KeyPair::Generate();
  const std::unique_ptr<SchedulerStub> stub_;
  pb::RegisterAgentResponse known_;
  pb::PollJobsRequest poll_;
  pb::PollJobsResponse leases_;
  pb::SubmitResultRequest results_;
  pb::SubmitResultResponse verdicts_;
  std::optional<grpc::ClientContext> poll_context_, submit_context_;  // one call after the other
};

double CpuSeconds() {
  rusage used{};
  getrusage(RUSAGE_SELF, &used);
  const auto seconds = [](const timeval& time) {
    return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_usec) / 1e6;
  };
  return seconds(used.ru_utime) + seconds(used.ru_stime);
}

// All agents work for `seconds`; says what they did in that time, and waits for their calls to end.
void RunTurn(std::vector<std::unique_ptr<Agent>>* agents, Work* work, double seconds) {
  {
    const absl::MutexLock lock(&work->mutex);
    work->active = agents->size();
  }
  const uint64_t before = work->accepted;
  const double cpu = CpuSeconds();
  work->goes_on = true;
  for (const auto& agent : *agents) agent->Poll();
  std::this_thread::sleep_for(kWarmUp);
  const auto start = Clock::now();
  const uint64_t accepted = work->accepted;
  std::this_thread::sleep_for(std::chrono::duration<double>(seconds));
  const uint64_t shards = work->accepted - accepted;
  const double took = SecondsSince(start);
  work->goes_on = false;
  const auto idle = [work]() ABSL_SHARED_LOCKS_REQUIRED(work->mutex) { return work->active == 0; };
  {
    const absl::MutexLock lock(&work->mutex);
    work->mutex.Await(absl::Condition(&idle));
  }
  fmt::print(
      "{{\"shards\": {}, \"seconds\": {:.4f}, \"cpu_with_ends\": {:.3f}, \"shards_with_ends\": "
      "{}}}\n",
      shards, took, CpuSeconds() - cpu, work->accepted - before);
  std::fflush(stdout);
}

int Main(int argc, char** argv) {
  LookForNoLockCycles();
  if (argc != 5) {
    fmt::print(stderr, "usage: bench_noop_agents ADDRESS TOKEN AGENTS SHARDS_PER_CALL\n");
    return 2;
  }
  Work work;
  std::vector<std::unique_ptr<Agent>> agents(std::strtoul(argv[3], nullptr, 10));
  const auto batch = static_cast<uint32_t>(std::strtoul(argv[4], nullptr, 10));
  const auto start = Clock::now();
  ForEach(agents.size(), [&](size_t i) {
    agents[i] = std::make_unique<Agent>(argv[1], i, batch, &work);
    agents[i]->Join(argv[2]);
  });
  PrintRegistered(agents.size(), start);
  double seconds = 0;
  while (std::cin >> seconds) RunTurn(&agents, &work, seconds);
  return 0;
}

}  // namespace
}  // namespace corpgrid::bench

int main(int argc, char** argv) { return corpgrid::bench::Main(argc, argv); }
