#include "agent/daemon.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <thread>

#include "agent/testing.h"
#include "rpc/connect.h"
#include "rpc/protocol.h"
#include "rpc/registration.h"

// The whole agent but for its sandboxes, over a real connection.
namespace corpgrid::agent {
namespace {

namespace pb = corpgrid::v1;

// A scheduler with one job whose shards it leases until it has accepted `wanted` results.
class WireScheduler final : public pb::Scheduler::Service, public pb::Objects::Service {
 public:
  explicit WireScheduler(TestJob job) : job_(std::move(job)) {}

  grpc::Status RegisterAgent(grpc::ServerContext* context, const pb::RegisterAgentRequest* request,
                             pb::RegisterAgentResponse* reply) override {
    absl::MutexLock lock(&mutex);
    ++asked;
    const std::string protocol = speaks;
    if (!protocol.empty()) context->AddInitialMetadata(rpc::kProtocolKey, protocol);
    told = rpc::CallersProtocol(*context);
    if (!refusal.ok()) return refusal;
    const auto key = crypto::PublicKey::FromRaw(request->public_key());
    if (refuse || !key.ok() ||
        !crypto::Verify(*key, rpc::RegistrationStatement(*request), request->signature()).ok()) {
      return {grpc::StatusCode::PERMISSION_DENIED, "not you"};
    }
    registered.push_back(*request);
    session = "session-" + std::to_string(registered.size());
    reply->set_grid_id(TestJob::kGrid);
    reply->set_device_id(7);
    reply->set_session(session);
    reply->set_heartbeat_ms(50);
    reply->set_lease_ttl_ms(1000);
    return grpc::Status::OK;
  }
  grpc::Status PollJobs(grpc::ServerContext* context, const pb::PollJobsRequest* request,
                        pb::PollJobsResponse* reply) override {
    absl::MutexLock lock(&mutex);
    if (!Known(*context)) return {grpc::StatusCode::UNAUTHENTICATED, "who?"};
    std::vector<Attempt> attempts;
    const std::set<uint64_t> held(request->held_attempts().begin(), request->held_attempts().end());
    for (const uint64_t id : leased) {
      if (!held.contains(id) && !accepted.contains(id)) attempts.push_back(job_.MakeAttempt(id));
    }
    while (leased.size() < wanted && attempts.size() < request->max_shards()) {
      leased.insert(leased.size() + 1);
      attempts.push_back(job_.MakeAttempt(leased.size()));
    }
    if (!attempts.empty()) *reply = Leases(attempts);
    if (attempts.empty()) {
      mutex.Unlock();
      std::this_thread::sleep_for(std::chrono::milliseconds(20));
      mutex.Lock();
    }
    return grpc::Status::OK;
  }
  grpc::Status Heartbeat(grpc::ServerContext* context, const pb::HeartbeatRequest*,
                         pb::HeartbeatResponse*) override {
    absl::MutexLock lock(&mutex);
    ++heartbeats;
    return Known(*context) ? grpc::Status::OK
                           : grpc::Status(grpc::StatusCode::UNAUTHENTICATED, "who?");
  }
  grpc::Status SubmitResult(grpc::ServerContext* context, const pb::SubmitResultRequest* request,
                            pb::SubmitResultResponse* reply) override {
    absl::MutexLock lock(&mutex);
    if (!Known(*context)) return {grpc::StatusCode::UNAUTHENTICATED, "who?"};
    for (const auto& result : request->results()) {
      accepted.insert(result.attempt_id());
      auto* verdict = reply->add_verdicts();
      verdict->set_attempt_id(result.attempt_id());
      verdict->set_accepted(true);
    }
    return grpc::Status::OK;
  }
  grpc::Status Get(grpc::ServerContext* context, const pb::GetRequest* request,
                   grpc::ServerWriter<pb::GetResponse>* writer) override {
    absl::MutexLock lock(&mutex);
    if (!Known(*context)) return {grpc::StatusCode::UNAUTHENTICATED, "who?"};
    if (request->hash() != crypto::Blake3(job_.spec).Raw()) {
      return {grpc::StatusCode::NOT_FOUND, "no such object"};
    }
    pb::GetResponse part;
    part.set_total_bytes(job_.spec.size());
    part.set_data(job_.spec);
    writer->Write(part);
    return grpc::Status::OK;
  }

  bool AwaitAccepted(size_t count) {
    absl::MutexLock lock(&mutex);
    const auto there = [this, count] { return accepted.size() >= count; };
    return mutex.AwaitWithTimeout(absl::Condition(&there), absl::Seconds(30));
  }

  absl::Mutex mutex;
  size_t wanted = 0;
  bool refuse = false;
  grpc::Status refusal;  // of registrations
  std::string speaks;    // what it says of its protocol
  rpc::ProtocolRange told;
  std::atomic<int> asked = 0;
  std::atomic<int> heartbeats = 0;
  std::string session;
  std::vector<pb::RegisterAgentRequest> registered;
  std::set<uint64_t> leased, accepted;

 private:
  bool Known(const grpc::ServerContext& context) const {
    const auto it = context.client_metadata().find(rpc::kSessionKey);
    return it != context.client_metadata().end() &&
           std::string(it->second.data(), it->second.size()) == session;
  }

  const TestJob job_;
};

class TrueSession final : public runner::Session {
 public:
  absl::StatusOr<runner::ShardExit> Run(const runner::ShardRequest&) override {
    return runner::ShardExit{};
  }
  bool Alive() const override { return true; }
  void Cancel(int64_t) override {}
  double Progress() const override { return -1; }
  int work_fd() const override { return -1; }
  std::string Stdout(size_t) const override { return ""; }
  std::string Stderr(size_t) const override { return ""; }
};

class DaemonTest : public ::testing::Test {
 protected:
  ~DaemonTest() override { StopAgent(); }

  void StartServer() {
    grpc::ServerBuilder builder;
    builder.AddListeningPort(address_, grpc::InsecureServerCredentials(), &port_);
    builder.RegisterService(static_cast<pb::Scheduler::Service*>(&scheduler_));
    builder.RegisterService(static_cast<pb::Objects::Service*>(&scheduler_));
    server_ = builder.BuildAndStart();
    ASSERT_NE(server_, nullptr);
    address_ = "127.0.0.1:" + std::to_string(port_);
  }
  void StopServer() {
    server_->Shutdown(std::chrono::system_clock::now());
    server_.reset();
  }
  void StartAgent() {
    parts_ = DaemonParts{
        .data_folder = folder_.path(),
        .runner_path = "/runner",
        .slots = 2,
        .device = {.info = {}, .join_token = "join"},
        .key = &key_,
        .channel = rpc::Connect(address_).value(),
        .start_session = [](const auto&) { return std::make_unique<TrueSession>(); },
        .trusts = [](const auto&) { return true; },
        .condition = [] { return pb::Condition(); },
        .resources = &resources_,
        .clock = &SystemClock(),
    };
    agent_ = std::thread([this] {
      status_ = RunDaemon(parts_, [this](int64_t ms) {
        std::this_thread::sleep_for(std::chrono::milliseconds(std::min<int64_t>(ms, 10)));
        return stop_.load();
      });
      ended_ = true;
    });
  }
  void StopAgent() {
    stop_ = true;
    if (agent_.joinable()) agent_.join();
  }
  void Want(size_t count) {
    absl::MutexLock lock(&scheduler_.mutex);
    scheduler_.wanted = count;
  }

  corpgrid::testing::TempFolder folder_;
  const crypto::KeyPair key_ = crypto::KeyPair::Generate();
  WireScheduler scheduler_{TestJob(1, Fields({"/bin/true"}), key_)};
  int port_ = 0;
  std::string address_ = "127.0.0.1:0";
  std::unique_ptr<grpc::Server> server_;
  resources::ResourceManager resources_{{.limits = {}, .load = {}, .clock = &SystemClock()}};
  DaemonParts parts_;
  std::atomic<bool> stop_ = false;
  std::atomic<bool> ended_ = false;
  absl::Status status_;
  std::thread agent_;
};

TEST_F(DaemonTest, RunsWhatItIsLeased) {
  StartServer();
  Want(500);
  StartAgent();
  EXPECT_TRUE(scheduler_.AwaitAccepted(500));
  StopAgent();
  EXPECT_TRUE(status_.ok()) << status_;
  EXPECT_GT(scheduler_.heartbeats, 0);
  EXPECT_EQ(scheduler_.registered[0].join_token(), "join");
}

TEST_F(DaemonTest, GoesOnWithASchedulerThatForgotItsSession) {
  StartServer();
  Want(100);
  StartAgent();
  EXPECT_TRUE(scheduler_.AwaitAccepted(100));
  {
    absl::MutexLock lock(&scheduler_.mutex);
    scheduler_.session = "forgotten";
    scheduler_.wanted = 200;
  }
  EXPECT_TRUE(scheduler_.AwaitAccepted(200));
  EXPECT_EQ(scheduler_.registered.size(), 2u);
}

TEST_F(DaemonTest, WaitsForASchedulerThatIsNotThere) {
  StartServer();
  StopServer();
  Want(10);
  StartAgent();
  std::this_thread::sleep_for(std::chrono::milliseconds(300));
  StartServer();
  EXPECT_TRUE(scheduler_.AwaitAccepted(10));
  StopServer();
  Want(20);
  std::this_thread::sleep_for(std::chrono::milliseconds(300));
  StartServer();
  EXPECT_TRUE(scheduler_.AwaitAccepted(20));
}

TEST_F(DaemonTest, EndsWhenItIsNotAdmitted) {
  scheduler_.refuse = true;
  StartServer();
  StartAgent();
  agent_.join();
  EXPECT_TRUE(absl::IsPermissionDenied(status_));
}

TEST_F(DaemonTest, WorksWithASchedulerThatSaysNothingOfItsVersion) {
  StartServer();
  Want(10);
  StartAgent();
  EXPECT_TRUE(scheduler_.AwaitAccepted(10));
  EXPECT_EQ(scheduler_.told, rpc::OurProtocol());
}

TEST_F(DaemonTest, WorksWithASchedulerOneVersionNewer) {
  scheduler_.speaks = rpc::ProtocolRange{kProtocol, kProtocol + 1}.ToText();
  StartServer();
  Want(10);
  StartAgent();
  EXPECT_TRUE(scheduler_.AwaitAccepted(10));
}

// Both while it starts and when it had registered before.
TEST_F(DaemonTest, WaitsForASchedulerWhoseVersionItSpeaks) {
  scheduler_.speaks = rpc::ProtocolRange{kProtocol + 1, kProtocol + 2}.ToText();
  StartServer();
  Want(10);
  StartAgent();
  while (scheduler_.asked < 3 && !ended_) std::this_thread::yield();
  ASSERT_FALSE(ended_);
  const auto set = [&](const std::string& speaks, const grpc::Status& refusal) {
    absl::MutexLock lock(&scheduler_.mutex);
    scheduler_.speaks = speaks;
    scheduler_.refusal = refusal;
    scheduler_.session = "forgotten";
    scheduler_.asked = 0;
  };
  set(rpc::OurProtocol().ToText(), grpc::Status::OK);
  EXPECT_TRUE(scheduler_.AwaitAccepted(10));
  set("", {grpc::StatusCode::FAILED_PRECONDITION, "upgrade the agent first"});
  while (scheduler_.asked < 3 && !ended_) std::this_thread::yield();
  ASSERT_FALSE(ended_);
  Want(20);
  set("", grpc::Status::OK);
  EXPECT_TRUE(scheduler_.AwaitAccepted(20));
}

TEST_F(DaemonTest, WaitsForASchedulerThatStopsWhileItRegisters) {
  scheduler_.refusal = grpc::Status::CANCELLED;
  StartServer();
  Want(10);
  StartAgent();
  while (scheduler_.asked < 3 && !ended_) std::this_thread::yield();
  EXPECT_FALSE(ended_);
  {
    absl::MutexLock lock(&scheduler_.mutex);
    scheduler_.refusal = grpc::Status::OK;
  }
  EXPECT_TRUE(scheduler_.AwaitAccepted(10));
}

TEST_F(DaemonTest, EndsSoonWhileTheSchedulerIsAway) {
  StartServer();
  StartAgent();
  while (scheduler_.heartbeats == 0) std::this_thread::yield();
  StopServer();
  const int64_t start_ms = SystemClock().MonotonicMs();
  StopAgent();
  EXPECT_LT(SystemClock().MonotonicMs() - start_ms, 3000);
  EXPECT_TRUE(status_.ok());
}

}  // namespace
}  // namespace corpgrid::agent
