// The parts of `./dev bench takeover` (takeover.py) that many devices need.
// usage: bench_takeover fill URL FOLDER DEVICES SHARDS   a grid of that size, all shards running
//        bench_takeover agents DATA FOLDER DEVICES SHARDS   those devices, until its input ends
//
// `agents` prints a JSON object a line for each command on its input: "mark" begins anew to wait,
// "heard" tells how many devices were answered since, and when the last one was; "accepted" writes
// the attempts whose results were accepted to FOLDER/accepted.

#include <grpcpp/grpcpp.h>

#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <iostream>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "corpgrid/v1/scheduler.grpc.pb.h"
#include "crypto/signature.h"
#include "fmt/format.h"
#include "job/spec.h"
#include "job/statement.h"
#include "rpc/connect.h"
#include "rpc/registration.h"
#include "store/store.h"

namespace corpgrid {
namespace {

namespace pb = corpgrid::v1;
using Clock = std::chrono::steady_clock;

constexpr int64_t kCallMs = 5'000;
constexpr uint32_t kPollMs = 30'000;
constexpr size_t kShardsACommit = 10'000;
constexpr int kThreads = 32;
constexpr auto kBeat = std::chrono::seconds(2);
constexpr auto kAgain = std::chrono::milliseconds(200);
constexpr uint64_t kJob = 1;
const crypto::Hash kBundle = crypto::Blake3("");

[[noreturn]] void Die(const std::string& why) {
  fmt::print(stderr, "bench_takeover: {}\n", why);
  std::exit(1);
}

void Check(const absl::Status& status) {
  if (!status.ok()) Die(status.ToString());
}

template <typename T>
T Check(absl::StatusOr<T> value) {
  Check(value.status());
  return *std::move(value);
}

std::string NameOf(size_t device) { return fmt::format("desktop-{:04}", device); }

crypto::KeyPair KeyOf(const std::string& folder, size_t device) {
  return Check(crypto::KeyPair::LoadOrCreate(fmt::format("{}/{}", folder, NameOf(device))));
}

job::JobSpec Spec(uint32_t shards) {
  job::JobFields fields;
  fields.name = "takeover";
  fields.command = {"/bin/true"};
  fields.shards = shards;
  fields.limits.wall_ms = 24 * 3'600'000;
  return Check(job::JobSpec::Make(fields));
}

// The lease of shard i, of device i modulo the devices.
AttemptId AttemptOf(uint64_t shard) { return {shard + 1}; }
std::string TokenOf(uint64_t shard) { return fmt::format("{:015}", shard); }

core::DeviceRow DeviceOf(const std::string& keys, size_t number) {
  return {.id = {number + 1},
          .public_key = std::string(KeyOf(keys, number).public_key().Raw()),
          .name = NameOf(number),
          .owner = fmt::format("owner-{}", number),
          .site = "",
          .version = "",
          .cpus = 8,
          .memory_bytes = 16ull << 30,
          .vram_bytes = 0,
          .backends = 1};
}

void Fill(const std::string& url, const std::string& keys, size_t devices, uint32_t shards) {
  const auto store = Check(store::Open(url));
  core::WriteBatch batch;
  batch.meta = Check(store->Load()).meta;
  batch.meta->next_device = devices + 1;
  batch.meta->next_job = kJob + 1;
  batch.meta->next_attempt = shards + 1;
  for (size_t i = 0; i < devices; ++i) batch.devices.push_back(DeviceOf(keys, i));
  core::JobRow job;
  job.id = job.progress.id = {kJob};
  job.idempotency_key = "takeover";
  job.spec = Spec(shards).Encode();
  job.spec_hash = crypto::Blake3(job.spec);
  job.bundle_hash = kBundle;
  job.submitter_key = std::string(32, 'k');
  job.progress.state = core::JobState::kRunning;
  job.progress.next_shard = shards;
  batch.jobs = {job};
  for (uint32_t i = 0; i < shards; ++i) {
    const DeviceId device{i % devices + 1};
    batch.shards.push_back({.id = {{kJob}, i}, .replicas = 1, .winner = {}, .error = ""});
    batch.attempts.push_back({.id = AttemptOf(i),
                              .shard = {{kJob}, i},
                              .device = device,
                              .owner = fmt::format("owner-{}", device.value - 1),
                              .lease_token = TokenOf(i)});
    if (batch.shards.size() < kShardsACommit && i + 1 < shards) continue;
    Check(store->Commit(batch));
    ++batch.meta->batch;
    const auto meta = batch.meta;
    batch = {};
    batch.meta = meta;
  }
}

// A device that heartbeats, waits for work, and hands in the result of one of its shards now and
// then. One thread at a time.
class Device {
 public:
  Device(std::string data, const std::string& keys, size_t number, size_t devices, uint32_t shards)
      : data_(std::move(data)), name_(NameOf(number)), key_(KeyOf(keys, number)) {
    for (uint32_t i = static_cast<uint32_t>(number); i < shards; i += devices) held_.push_back(i);
    spec_ = crypto::Blake3(Spec(shards).Encode());
  }

  // Whether the scheduler answered.
  bool Beat() {
    if (!stub_ && !Register()) return false;
    pb::HeartbeatRequest request;
    request.mutable_condition()->set_source(pb::Condition::MAINS);
    for (const uint32_t shard : held_) {
      request.add_attempts()->set_attempt_id(AttemptOf(shard).value);
    }
    pb::HeartbeatResponse reply;
    grpc::ClientContext context;
    rpc::PrepareCall(&context, kCallMs, rpc::kSessionKey, session_);
    if (!stub_->Heartbeat(&context, request, &reply).ok() || !HandIn()) {
      stub_.reset();
      return false;
    }
    if (poll_ && poll_->done) poll_.reset();
    if (!poll_) Wait();
    return true;
  }

  void Stop() {
    if (!poll_) return;
    poll_->context.TryCancel();
    while (!poll_->done) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }

  const std::vector<uint64_t>& accepted() const { return accepted_; }

 private:
  struct Poll {
    std::unique_ptr<pb::Scheduler::Stub> stub;
    grpc::ClientContext context;
    pb::PollJobsRequest request;
    pb::PollJobsResponse reply;
    std::atomic<bool> done = false;
  };

  bool Register() {
    const absl::StatusOr<rpc::GridFile> grid = rpc::GridFile::Read(data_);
    if (!grid.ok()) return false;
    grpc::ChannelArguments arguments;
    arguments.SetString("bench.device", name_);  // else channels share a connection
    arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, 200);
    channel_ =
        grpc::CreateCustomChannel(grid->address, grpc::InsecureChannelCredentials(), arguments);
    auto stub = pb::Scheduler::NewStub(channel_);
    pb::RegisterAgentRequest request;
    request.set_public_key(std::string(key_.public_key().Raw()));
    request.mutable_info()->set_name(name_);
    request.mutable_info()->set_cpus(8);
    request.mutable_info()->set_memory_bytes(16ull << 30);
    request.mutable_info()->add_backends("cpu");
    request.set_signature(key_.Sign(rpc::RegistrationStatement(request)));
    pb::RegisterAgentResponse reply;
    grpc::ClientContext context;
    rpc::PrepareCall(&context, kCallMs, rpc::kSessionKey, "");
    if (!stub->RegisterAgent(&context, request, &reply).ok()) return false;
    session_ = reply.session();
    grid_id_ = reply.grid_id();
    device_ = {reply.device_id()};
    stub_ = std::move(stub);
    return true;
  }

  bool HandIn() {
    if (held_.empty()) return true;
    const uint32_t shard = held_.back();
    const job::Result result{.outcome = job::Outcome::kExited, .exit_code = 0, .outputs = {}};
    const std::string token = TokenOf(shard);
    const job::ResultStatement statement{.grid_id = grid_id_,
                                         .device = device_,
                                         .shard = {{kJob}, shard},
                                         .attempt = AttemptOf(shard),
                                         .lease_token = token,
                                         .bundle = kBundle,
                                         .spec = spec_,
                                         .result_key = result.Key()};
    pb::SubmitResultRequest request;
    request.mutable_condition()->set_source(pb::Condition::MAINS);
    pb::Result* in = request.add_results();
    in->set_attempt_id(AttemptOf(shard).value);
    in->set_lease_token(token);
    in->set_outcome(static_cast<uint32_t>(result.outcome));
    in->set_signature(key_.Sign(statement.Encode()));
    pb::SubmitResultResponse reply;
    grpc::ClientContext context;
    rpc::PrepareCall(&context, kCallMs, rpc::kSessionKey, session_);
    if (!stub_->SubmitResult(&context, request, &reply).ok()) return false;
    // The answer to the first try may have been lost with the scheduler, and then it is refused.
    held_.pop_back();
    if (reply.verdicts_size() == 1 && reply.verdicts(0).accepted()) {
      accepted_.push_back(AttemptOf(shard).value);
    }
    return true;
  }

  void Wait() {
    poll_ = std::make_shared<Poll>();
    poll_->stub = pb::Scheduler::NewStub(channel_);
    poll_->request.set_max_shards(1);
    poll_->request.set_wait_ms(kPollMs);
    for (const uint32_t shard : held_) poll_->request.add_held_attempts(AttemptOf(shard).value);
    rpc::PrepareCall(&poll_->context, 2 * kPollMs, rpc::kSessionKey, session_);
    poll_->stub->async()->PollJobs(&poll_->context, &poll_->request, &poll_->reply,
                                   [poll = poll_](const grpc::Status&) { poll->done = true; });
  }

  const std::string data_;
  const std::string name_;
  const crypto::KeyPair key_;
  crypto::Hash spec_;
  std::vector<uint32_t> held_;
  std::vector<uint64_t> accepted_;
  std::shared_ptr<grpc::Channel> channel_;
  std::unique_ptr<pb::Scheduler::Stub> stub_;
  std::string session_;
  std::string grid_id_;
  DeviceId device_;
  std::shared_ptr<Poll> poll_;
};

// Each device beats once in kBeat, and again soon when it was not answered.
class Fleet {
 public:
  Fleet(const std::string& data, const std::string& keys, size_t devices, uint32_t shards) {
    for (size_t i = 0; i < devices; ++i) {
      due_.insert({Clock::now() + kBeat * i / devices, i});
      devices_.push_back(std::make_unique<Device>(data, keys, i, devices, shards));
    }
    heard_.resize(devices);
    for (int t = 0; t < kThreads; ++t) threads_.emplace_back([this] { Run(); });
  }

  ~Fleet() {
    ending_ = true;
    for (std::thread& thread : threads_) thread.join();
    for (const auto& device : devices_) device->Stop();
  }

  void Mark() {
    const std::lock_guard lock(mutex_);
    heard_.assign(heard_.size(), false);
    count_ = 0;
    marked_ = last_ = Clock::now();
  }

  void TellHeard() {
    const std::lock_guard lock(mutex_);
    fmt::print("{{\"heard\": {}, \"of\": {}, \"seconds\": {:.3f}}}\n", count_, heard_.size(),
               std::chrono::duration<double>(last_ - marked_).count());
  }

  // Waits until nobody changes the lists.
  size_t WriteAccepted(const std::string& path) {
    const std::lock_guard lock(mutex_);
    std::ofstream file(path);
    for (const uint64_t attempt : accepted_) file << attempt << "\n";
    return accepted_.size();
  }

 private:
  void Run() {
    while (!ending_) {
      std::unique_lock lock(mutex_);
      if (due_.empty() || due_.begin()->first > Clock::now()) {
        lock.unlock();
        std::this_thread::sleep_for(std::chrono::milliseconds(5));
        continue;
      }
      const auto [when, number] = due_.extract(due_.begin()).value();
      lock.unlock();
      Device& device = *devices_[number];
      const size_t before = device.accepted().size();
      const auto begun = Clock::now();
      const bool answered = device.Beat();
      lock.lock();
      for (size_t i = before; i < device.accepted().size(); ++i) {
        accepted_.push_back(device.accepted()[i]);
      }
      if (answered && begun >= marked_ && !heard_[number]) {
        heard_[number] = true;
        ++count_;
        last_ = Clock::now();
      }
      due_.insert({answered ? std::max(when + kBeat, begun) : begun + kAgain, number});
    }
  }

  std::vector<std::unique_ptr<Device>> devices_;
  std::mutex mutex_;
  std::set<std::pair<Clock::time_point, size_t>> due_;
  std::vector<bool> heard_;
  std::vector<uint64_t> accepted_;
  size_t count_ = 0;
  Clock::time_point marked_;
  Clock::time_point last_;
  std::atomic<bool> ending_ = false;
  std::vector<std::thread> threads_;
};

void Agents(const std::string& data, const std::string& keys, size_t devices, uint32_t shards) {
  Fleet fleet(data, keys, devices, shards);
  for (std::string line; std::getline(std::cin, line);) {
    if (line == "mark") fleet.Mark();
    if (line == "heard") fleet.TellHeard();
    if (line == "accepted") {
      fmt::print("{{\"accepted\": {}}}\n", fleet.WriteAccepted(keys + "/accepted"));
    }
    std::fflush(stdout);
  }
}

int Main(int argc, char** argv) {
  if (argc == 6) {
    const std::string mode = argv[1];
    const size_t devices = std::strtoul(argv[4], nullptr, 10);
    const auto shards = static_cast<uint32_t>(std::strtoul(argv[5], nullptr, 10));
    if (mode == "fill") return Fill(argv[2], argv[3], devices, shards), 0;
    if (mode == "agents") return Agents(argv[2], argv[3], devices, shards), 0;
  }
  fmt::print(stderr,
             "usage: bench_takeover fill URL FOLDER DEVICES SHARDS\n"
             "       bench_takeover agents DATA FOLDER DEVICES SHARDS\n");
  return 2;
}

}  // namespace
}  // namespace corpgrid

int main(int argc, char** argv) { return corpgrid::Main(argc, argv); }
