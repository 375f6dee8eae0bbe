// The floor of `./dev bench dispatch`: answers the agents' calls with as many leases and verdicts
// as the scheduler would, and commits as many rows of the same size to the same store, many calls
// in one transaction. It decides nothing, checks nothing and remembers nothing. usage:
// bench_echo_scheduler STORE REPLICAS, ends with its input

#include <grpcpp/grpcpp.h>

#include <bit>
#include <cstdlib>
#include <functional>
#include <iostream>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/synchronization/mutex.h"
#include "bench/support/fleet.h"
#include "core/rows.h"
#include "rpc/connect.h"
#include "store/store.h"
#include "store/test_rows.h"

namespace corpgrid::bench {
namespace {

namespace pb = corpgrid::v1;

constexpr size_t kMaxCalls = 512;  // in a transaction, as in the scheduler
constexpr uint64_t kJob = 1;
constexpr char kOwner[] = "bench";

// Writes the rows of all calls that wait in one transaction, then lets them be answered.
class Committer {
 public:
  explicit Committer(store::Store* store)
      : store_(store), meta_(store->Load()->meta), thread_([this] { Run(); }) {}

  ~Committer() {
    {
      const absl::MutexLock lock(&mutex_);
      stopping_ = true;
    }
    thread_.join();
  }

  void Submit(core::WriteBatch rows, std::function<void()> answer) {
    const absl::MutexLock lock(&mutex_);
    calls_.emplace_back(std::move(rows), std::move(answer));
  }

  const core::MetaRow& meta() const { return meta_; }  // its grid_id, for any thread

 private:
  using Call = std::pair<core::WriteBatch, std::function<void()>>;

  template <typename Row>
  static void Append(std::vector<Row>* to, std::vector<Row>* from) {
    to->insert(to->end(), std::make_move_iterator(from->begin()),
               std::make_move_iterator(from->end()));
  }

  std::vector<Call> Take() {
    const absl::MutexLock lock(&mutex_);
    const auto ready = [this]() ABSL_SHARED_LOCKS_REQUIRED(mutex_) {
      return stopping_ || !calls_.empty();
    };
    mutex_.Await(absl::Condition(&ready));
    if (calls_.size() <= kMaxCalls) return std::exchange(calls_, {});
    const auto end = calls_.begin() + kMaxCalls;
    std::vector<Call> taken(std::make_move_iterator(calls_.begin()), std::make_move_iterator(end));
    calls_.erase(calls_.begin(), end);
    return taken;
  }

  void Run() {
    for (std::vector<Call> calls = Take(); !calls.empty(); calls = Take()) {
      core::WriteBatch all;
      for (Call& call : calls) {
        Append(&all.devices, &call.first.devices);
        Append(&all.reputations, &call.first.reputations);
        Append(&all.shards, &call.first.shards);
        Append(&all.attempts, &call.first.attempts);
        Append(&all.results, &call.first.results);
      }
      ++meta_.batch;
      all.meta = meta_;
      core::JobProgressRow& progress = all.job_progress.emplace_back();
      progress.id = {kJob};
      progress.state = core::JobState::kRunning;
      if (const absl::Status status = store_->Commit(all); !status.ok()) Die(status.ToString());
      for (Call& call : calls) call.second();
    }
  }

  store::Store* const store_;
  core::MetaRow meta_;
  absl::Mutex mutex_;
  std::vector<Call> calls_ ABSL_GUARDED_BY(mutex_);
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  std::thread thread_;
};

class EchoService final : public pb::Scheduler::CallbackService {
 public:
  EchoService(Committer* committer, uint32_t replicas)
      : committer_(committer),
        replicas_(replicas),
        job_(store::TestJob(kJob, core::JobState::kRunning)),
        last_attempt_(replicas - 1) {}  // so that the attempts of a shard follow each other

  grpc::ServerUnaryReactor* RegisterAgent(grpc::CallbackServerContext* context,
                                          const pb::RegisterAgentRequest* request,
                                          pb::RegisterAgentResponse* response) override {
    core::WriteBatch rows;
    core::DeviceRow& device = rows.devices.emplace_back();
    device.id = {++last_device_};
    device.public_key = request->public_key();
    device.name = request->info().name();
    device.owner = kOwner;
    device.site = request->info().site();
    response->set_grid_id(committer_->meta().grid_id);
    response->set_device_id(device.id.value);
    // The scheduler's is random; of this one the device is read.
    response->set_session(fmt::format("{:032}", device.id.value));
    return Answer(context, std::move(rows));
  }

  grpc::ServerUnaryReactor* PollJobs(grpc::CallbackServerContext* context,
                                     const pb::PollJobsRequest* request,
                                     pb::PollJobsResponse* response) override {
    const DeviceId device = DeviceOf(*context);
    pb::JobTicket* ticket = response->add_jobs();
    ticket->set_job_id(kJob);
    ticket->set_spec_hash(std::string(job_.spec_hash.Raw()));
    ticket->set_spec_bytes(job_.spec.size());
    ticket->set_bundle_hash(std::string(job_.bundle_hash.Raw()));
    ticket->set_bundle_bytes(job_.bundle_bytes);
    ticket->set_submitter_key(job_.submitter_key);
    ticket->set_signature(job_.signature);
    core::WriteBatch rows;
    const uint64_t first = last_attempt_.fetch_add(request->max_shards()) + 1;
    for (uint64_t id = first; id < first + request->max_shards(); ++id) {
      rows.shards.push_back(ShardOf(id));
      core::AttemptRow attempt = AttemptOf(id, device, core::AttemptState::kRunning);
      pb::Lease* lease = response->add_leases();
      lease->set_attempt_id(id);
      lease->set_job_id(kJob);
      lease->set_shard(attempt.shard.index);
      lease->set_token(attempt.lease_token);
      lease->set_ttl_ms(10'000);
      rows.attempts.push_back(std::move(attempt));
    }
    return Answer(context, std::move(rows));
  }

  // Of a shard's replicas the first counts, as with a quorum of one: its result, all attempts and
  // the shard are written. What comes after it changes nothing.
  grpc::ServerUnaryReactor* SubmitResult(grpc::CallbackServerContext* context,
                                         const pb::SubmitResultRequest* request,
                                         pb::SubmitResultResponse* response) override {
    const DeviceId device = DeviceOf(*context);
    core::WriteBatch rows;
    rows.reputations.emplace_back().device = device;
    // What the scheduler keeps with each result of a call that is signed as a whole.
    const auto levels = std::bit_width(static_cast<uint32_t>(request->results_size()) - 1);
    const std::string signature = request->signature() + std::string(2 + 32 * levels, '\x01');
    for (const pb::Result& result : request->results()) {
      pb::SubmitResultResponse::Verdict* verdict = response->add_verdicts();
      const uint64_t id = result.attempt_id();
      const bool counts = id % replicas_ == 0;
      verdict->set_attempt_id(id);
      verdict->set_accepted(counts);
      if (!counts) {
        verdict->set_reason("the job has ended");
        continue;
      }
      for (uint64_t of_shard = id; of_shard < id + replicas_; ++of_shard) {
        rows.attempts.push_back(AttemptOf(of_shard, device, core::AttemptState::kAgreed));
      }
      core::ShardRow& shard = rows.shards.emplace_back(ShardOf(id));
      shard.state = core::ShardState::kDone;
      shard.winner = {id};
      core::ResultRow& row = rows.results.emplace_back();
      row.attempt = {id};
      row.result.outcome = static_cast<job::Outcome>(result.outcome());
      row.signature = signature;
      row.wall_ms = result.wall_ms();
      row.cpu_ms = result.cpu_ms();
      row.max_rss_bytes = result.max_rss_bytes();
    }
    return Answer(context, std::move(rows));
  }

 private:
  grpc::ServerUnaryReactor* Answer(grpc::CallbackServerContext* context, core::WriteBatch rows) {
    grpc::ServerUnaryReactor* const reactor = context->DefaultReactor();
    committer_->Submit(std::move(rows), [reactor] { reactor->Finish(grpc::Status::OK); });
    return reactor;
  }

  static DeviceId DeviceOf(const grpc::CallbackServerContext& context) {
    const auto session = context.client_metadata().find(rpc::kSessionKey);
    if (session == context.client_metadata().end()) Die("a call without its session");
    return {std::strtoull(std::string(session->second.data(), session->second.size()).c_str(),
                          nullptr, 10)};
  }

  core::ShardRow ShardOf(uint64_t attempt) const {
    core::ShardRow shard;
    shard.id = {.job = {kJob}, .index = static_cast<uint32_t>(attempt / replicas_)};
    shard.replicas = replicas_;
    return shard;
  }

  core::AttemptRow AttemptOf(uint64_t id, DeviceId device, core::AttemptState state) const {
    return {.id = {id},
            .shard = ShardOf(id).id,
            .device = device,
            .owner = kOwner,
            .lease_token = fmt::format("{:015}", id),
            .state = state};
  }

  Committer* const committer_;
  const uint32_t replicas_;
  const core::JobRow job_;
  std::atomic<uint64_t> last_device_ = 0;
  std::atomic<uint64_t> last_attempt_;
};

int Main(int argc, char** argv) {
  LookForNoLockCycles();
  if (argc != 3) {
    fmt::print(stderr, "usage: bench_echo_scheduler STORE REPLICAS\n");
    return 2;
  }
  const auto replicas = static_cast<uint32_t>(std::strtoul(argv[2], nullptr, 10));
  auto opened = store::Open(argv[1]);
  if (!opened.ok()) Die(opened.status().ToString());
  const std::unique_ptr<store::Store> store = *std::move(opened);
  Committer committer(store.get());
  core::WriteBatch setup;
  setup.jobs = {store::TestJob(kJob, core::JobState::kRunning)};
  if (const absl::Status status = store->Commit(setup); !status.ok()) Die(status.ToString());
  EchoService service(&committer, replicas);
  grpc::ServerBuilder builder;
  int port = 0;
  builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port);
  builder.RegisterService(&service);
  const std::unique_ptr<grpc::Server> server = builder.BuildAndStart();
  if (!server || port == 0) Die("cannot listen");
  fmt::print("{{\"address\": \"127.0.0.1:{}\"}}\n", port);
  std::fflush(stdout);
  while (std::cin.get() != EOF) {
  }
  server->Shutdown(std::chrono::system_clock::now());
  return 0;
}

}  // namespace
}  // namespace corpgrid::bench

int main(int argc, char** argv) { return corpgrid::bench::Main(argc, argv); }
