// The whole scheduler over a real connection, with honest and dishonest callers.

#include "scheduler/scheduler.h"

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "base/testing/temp_folder.h"
#include "corpgrid/v1/jobs.grpc.pb.h"
#include "corpgrid/v1/objects.grpc.pb.h"
#include "corpgrid/v1/scheduler.grpc.pb.h"
#include "crypto/signature.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "job/spec.h"
#include "job/statement.h"
#include "rpc/connect.h"
#include "rpc/registration.h"
#include "rpc/transfer.h"

namespace corpgrid::scheduler {
namespace {

namespace pb = corpgrid::v1;
using ::testing::HasSubstr;

constexpr int64_t kCallMs = 10'000;

// A device that speaks the protocol by hand.
class TestAgent {
 public:
  explicit TestAgent(const std::shared_ptr<grpc::Channel>& channel)
      : key_(crypto::KeyPair::Generate()),
        stub_(pb::Scheduler::NewStub(channel)),
        objects_(pb::Objects::NewStub(channel)) {}

  grpc::Status Register(const std::string& join_token) {
    pb::RegisterAgentRequest request;
    request.set_public_key(std::string(key_.public_key().Raw()));
    request.mutable_info()->set_name("test");
    request.mutable_info()->set_cpus(2);
    request.mutable_info()->set_memory_bytes(8ull << 30);
    request.mutable_info()->add_backends("cpu");
    request.set_join_token(join_token);
    request.set_signature(key_.Sign(rpc::RegistrationStatement(request)));
    grpc::ClientContext context;
    rpc::PrepareCall(&context, kCallMs, rpc::kSessionKey, "");
    return stub_->RegisterAgent(&context, request, &registered);
  }

  pb::PollJobsResponse Poll(uint32_t shards, uint32_t wait_ms,
                            const std::vector<uint64_t>& held = {}) {
    pb::PollJobsRequest request;
    request.set_max_shards(shards);
    request.set_wait_ms(wait_ms);
    for (const uint64_t id : held) request.add_held_attempts(id);
    pb::PollJobsResponse response;
    grpc::ClientContext context;
    rpc::PrepareCall(&context, kCallMs, rpc::kSessionKey, registered.session());
    const grpc::Status status = stub_->PollJobs(&context, request, &response);
    EXPECT_TRUE(status.ok()) << status.error_message();
    return response;
  }

  absl::StatusOr<std::vector<pb::StagedObject>> Upload(const pb::Lease& lease,
                                                       const std::string& name,
                                                       const std::string& data) {
    rpc::ObjectsClient client(objects_.get(), rpc::kSessionKey, registered.session());
    const auto upload = rpc::UploadBytes(GrantOf(lease), name, data);
    return client.Put({&upload, 1});
  }

  absl::Status Download(const pb::Lease& lease, const crypto::Hash& hash, std::string* out) {
    rpc::ObjectsClient client(objects_.get(), rpc::kSessionKey, registered.session());
    return client.Get(GrantOf(lease), hash, 1 << 20, [&](std::string_view part) {
      out->append(part);
      return absl::OkStatus();
    });
  }

  // A result for `lease` whose one output claims to be `data`.
  pb::Result MakeResult(const pb::JobTicket& ticket, const pb::Lease& lease,
                        const std::string& data) {
    job::Result result{.outcome = job::Outcome::kExited, .exit_code = 0, .outputs = {}};
    result.outputs.push_back({"out", crypto::Blake3(data), data.size()});
    job::ResultStatement statement{.grid_id = registered.grid_id(),
                                   .device = DeviceId{registered.device_id()},
                                   .shard = {JobId{lease.job_id()}, lease.shard()},
                                   .attempt = AttemptId{lease.attempt_id()},
                                   .lease_token = lease.token(),
                                   .bundle = *crypto::Hash::FromRaw(ticket.bundle_hash()),
                                   .spec = *crypto::Hash::FromRaw(ticket.spec_hash()),
                                   .result_key = result.Key()};
    pb::Result out;
    out.set_attempt_id(lease.attempt_id());
    out.set_lease_token(lease.token());
    out.set_outcome(static_cast<uint32_t>(result.outcome));
    pb::OutputRef* ref = out.add_outputs();
    ref->set_name("out");
    ref->set_hash(std::string(result.outputs[0].hash.Raw()));
    ref->set_size_bytes(data.size());
    out.set_signature(key_.Sign(statement.Encode()));
    return out;
  }

  pb::SubmitResultResponse::Verdict HandIn(const pb::Result& result) {
    pb::SubmitResultRequest request;
    *request.add_results() = result;
    pb::SubmitResultResponse response;
    grpc::ClientContext context;
    rpc::PrepareCall(&context, kCallMs, rpc::kSessionKey, registered.session());
    const grpc::Status status = stub_->SubmitResult(&context, request, &response);
    EXPECT_TRUE(status.ok()) << status.error_message();
    return response.verdicts_size() > 0 ? response.verdicts(0)
                                        : pb::SubmitResultResponse::Verdict();
  }

  static pb::Grant GrantOf(const pb::Lease& lease) {
    pb::Grant grant;
    grant.set_attempt_id(lease.attempt_id());
    grant.set_lease_token(lease.token());
    return grant;
  }

  pb::RegisterAgentResponse registered;

 private:
  crypto::KeyPair key_;
  std::unique_ptr<pb::Scheduler::Stub> stub_;
  std::unique_ptr<pb::Objects::Stub> objects_;
};

class SchedulerTest : public ::testing::Test {
 protected:
  SchedulerTest() { Start(); }

  void Start() {
    auto started = Scheduler::Start({.data_folder = folder_.path(),
                                     .listen = listen_,
                                     .heartbeat_ms = 5000,
                                     .grace_heartbeats = 4});

    ASSERT_TRUE(started.ok()) << started.status().ToString();
    scheduler_ = *std::move(started);
    listen_ = scheduler_->address();  // where the devices look for it after a restart
    grid_ = rpc::GridFile::Read(folder_.path()).value();
    channel_ = rpc::Connect(scheduler_->address()).value();
    jobs_ = pb::Jobs::NewStub(channel_);
    objects_ = pb::Objects::NewStub(channel_);
  }

  void Restart() {
    scheduler_->Stop();
    scheduler_.reset();
    Start();
  }

  template <typename Request, typename Response>
  grpc::Status Call(grpc::Status (pb::Jobs::Stub::*method)(grpc::ClientContext*, const Request&,
                                                           Response*),
                    const Request& request, Response* response) {
    grpc::ClientContext context;
    rpc::PrepareCall(&context, kCallMs, rpc::kTokenKey, grid_.token);
    return (jobs_.get()->*method)(&context, request, response);
  }

  std::string JoinToken(const std::string& owner) {
    pb::CreateJoinTokenRequest request;
    request.set_owner(owner);
    request.set_idempotency_key(owner);
    pb::CreateJoinTokenResponse response;
    EXPECT_TRUE(Call(&pb::Jobs::Stub::CreateJoinToken, request, &response).ok());
    return response.token();
  }

  std::unique_ptr<TestAgent> Agent(const std::string& owner) {
    auto agent = std::make_unique<TestAgent>(channel_);
    const grpc::Status status = agent->Register(JoinToken(owner));
    EXPECT_TRUE(status.ok()) << status.error_message();
    return agent;
  }

  // Uploads and submits a job with one output; `signer` signs what `signed_bundle` names.
  grpc::Status Submit(const std::string& key, pb::SubmitResponse* response, uint32_t replicas = 1,
                      const std::string& signed_bundle = "bundle bytes") {
    job::JobFields fields;
    fields.name = "test";
    fields.command = {"/bin/true"};
    fields.outputs = {"out"};
    fields.redundancy.replicas = replicas;
    fields.redundancy.quorum = replicas;
    spec_ = job::JobSpec::Make(fields).value().Encode();
    rpc::ObjectsClient client(objects_.get(), rpc::kTokenKey, grid_.token);
    pb::Grant grant;
    grant.set_upload_id(key);
    const std::string bundle = "bundle bytes";
    const std::vector<rpc::ObjectsClient::Upload> uploads = {
        rpc::UploadBytes(grant, "spec", spec_), rpc::UploadBytes(grant, "bundle", bundle)};
    const auto put = client.Put(uploads);
    EXPECT_TRUE(put.ok()) << put.status().ToString();
    pb::SubmitRequest request;
    request.set_idempotency_key(key);
    request.set_upload_id(key);
    request.set_submitter_key(std::string(submitter_.public_key().Raw()));
    request.set_signature(submitter_.Sign(
        job::JobStatement(grid_.grid_id, crypto::Blake3(signed_bundle), crypto::Blake3(spec_))));
    return Call(&pb::Jobs::Stub::Submit, request, response);
  }

  pb::Job JobNow(uint64_t id) {
    pb::GetJobRequest request;
    request.set_job_id(id);
    pb::Job job;
    EXPECT_TRUE(Call(&pb::Jobs::Stub::Get, request, &job).ok());
    return job;
  }

  testing::TempFolder folder_;
  crypto::KeyPair submitter_ = crypto::KeyPair::Generate();
  std::string listen_ = "127.0.0.1:0";
  rpc::GridFile grid_;
  std::string spec_;
  std::unique_ptr<Scheduler> scheduler_;
  std::shared_ptr<grpc::Channel> channel_;
  std::unique_ptr<pb::Jobs::Stub> jobs_;
  std::unique_ptr<pb::Objects::Stub> objects_;
};

TEST_F(SchedulerTest, NobodyGetsInWithoutATokenOrASession) {
  grid_.token = "guess";
  pb::ListJobsResponse jobs;
  EXPECT_EQ(Call(&pb::Jobs::Stub::List, pb::ListJobsRequest(), &jobs).error_code(),
            grpc::StatusCode::UNAUTHENTICATED);
  TestAgent stranger(channel_);
  EXPECT_EQ(stranger.Register("").error_code(), grpc::StatusCode::PERMISSION_DENIED);
  EXPECT_EQ(stranger.Register("cgj1." + std::string(64, '0')).error_code(),
            grpc::StatusCode::PERMISSION_DENIED);
  stranger.registered.set_session("guess");
  pb::PollJobsResponse polled;
  grpc::ClientContext context;
  rpc::PrepareCall(&context, kCallMs, rpc::kSessionKey, "guess");
  EXPECT_EQ(pb::Scheduler::NewStub(channel_)
                ->PollJobs(&context, pb::PollJobsRequest(), &polled)
                .error_code(),
            grpc::StatusCode::UNAUTHENTICATED);
}

TEST_F(SchedulerTest, ASecondSchedulerOnTheFolderIsToldSo) {
  const auto second = Scheduler::Start({.data_folder = folder_.path()});
  ASSERT_FALSE(second.ok());
  EXPECT_THAT(std::string(second.status().message()), HasSubstr("already uses"));
}

TEST_F(SchedulerTest, APortInUseIsAClearError) {
  testing::TempFolder other;
  const auto second =
      Scheduler::Start({.data_folder = other.path(), .listen = scheduler_->address()});
  ASSERT_FALSE(second.ok());
  EXPECT_THAT(std::string(second.status().message()), HasSubstr("the port is in use"));
}

TEST_F(SchedulerTest, SubmittingTwiceMakesOneJobAlsoAcrossARestart) {
  pb::SubmitResponse first, again;
  ASSERT_TRUE(Submit("key", &first).ok());
  ASSERT_TRUE(Submit("key", &again).ok());
  EXPECT_TRUE(again.existed());
  Restart();
  pb::SubmitResponse after;
  ASSERT_TRUE(Submit("key", &after).ok());
  EXPECT_EQ(after.job_id(), first.job_id());
}

TEST_F(SchedulerTest, ASignatureOverAnotherBundleIsRefused) {
  pb::SubmitResponse response;
  EXPECT_EQ(Submit("key", &response, 1, "other bytes").error_code(),
            grpc::StatusCode::PERMISSION_DENIED);
}

TEST_F(SchedulerTest, AJobRunsToItsEndAndItsOutputIsKept) {
  pb::SubmitResponse submitted;
  ASSERT_TRUE(Submit("key", &submitted).ok());
  const auto ann = Agent("ann");
  const pb::PollJobsResponse work = ann->Poll(1, 1000);
  ASSERT_EQ(work.leases_size(), 1);
  std::string spec;
  EXPECT_TRUE(ann->Download(work.leases(0), crypto::Blake3(spec_), &spec).ok());
  EXPECT_EQ(spec, spec_);
  ASSERT_TRUE(ann->Upload(work.leases(0), "out", "data").ok());
  const auto verdict = ann->HandIn(ann->MakeResult(work.jobs(0), work.leases(0), "data"));
  EXPECT_TRUE(verdict.accepted()) << verdict.reason();
  EXPECT_EQ(JobNow(submitted.job_id()).state(), "done");
  Restart();
  rpc::ObjectsClient people(objects_.get(), rpc::kTokenKey, grid_.token);
  std::string out;
  EXPECT_TRUE(people
                  .Get(pb::Grant(), crypto::Blake3("data"), 100,
                       [&](std::string_view part) {
                         out.append(part);
                         return absl::OkStatus();
                       })
                  .ok());
  EXPECT_EQ(out, "data");
}

TEST_F(SchedulerTest, ADeviceReachesNoObjectButItsOwnShards) {
  pb::SubmitResponse submitted;
  ASSERT_TRUE(Submit("key", &submitted, 2).ok());
  const auto ann = Agent("ann"), bob = Agent("bob");
  const pb::PollJobsResponse a = ann->Poll(1, 1000), b = bob->Poll(1, 1000);
  ASSERT_TRUE(ann->Upload(a.leases(0), "out", "secret answer").ok());
  std::string got;
  EXPECT_TRUE(
      absl::IsPermissionDenied(bob->Download(b.leases(0), crypto::Blake3("secret answer"), &got)));
  EXPECT_TRUE(absl::IsPermissionDenied(bob->Upload(a.leases(0), "out", "x").status()))
      << "stolen grant";
  EXPECT_TRUE(absl::IsPermissionDenied(ann->Upload(a.leases(0), "unasked", "x").status()));
  EXPECT_TRUE(absl::IsResourceExhausted(
      ann->Upload(a.leases(0), "out", std::string((64 << 20) + 1, 'x')).status()));
}

TEST_F(SchedulerTest, DishonestResultsChangeTheCountersAlone) {
  pb::SubmitResponse submitted;
  ASSERT_TRUE(Submit("key", &submitted, 2).ok());
  const auto ann = Agent("ann"), bob = Agent("bob");
  const pb::PollJobsResponse a = ann->Poll(1, 1000), b = bob->Poll(1, 1000);
  ASSERT_TRUE(ann->Upload(a.leases(0), "out", "data").ok());
  const pb::Result honest = ann->MakeResult(a.jobs(0), a.leases(0), "data");
  ASSERT_TRUE(ann->HandIn(honest).accepted());

  EXPECT_FALSE(bob->HandIn(honest).accepted()) << "another's result";
  pb::Result copied = honest;
  copied.set_attempt_id(b.leases(0).attempt_id());
  copied.set_lease_token(b.leases(0).token());
  EXPECT_FALSE(bob->HandIn(copied).accepted()) << "another's signature";
  EXPECT_FALSE(bob->HandIn(bob->MakeResult(b.jobs(0), b.leases(0), "data")).accepted())
      << "bytes not uploaded";
  EXPECT_EQ(JobNow(submitted.job_id()).state(), "running");

  ASSERT_TRUE(bob->Upload(b.leases(0), "out", "data").ok());
  EXPECT_TRUE(bob->HandIn(bob->MakeResult(b.jobs(0), b.leases(0), "data")).accepted());
  EXPECT_EQ(JobNow(submitted.job_id()).state(), "done");
  pb::ListDevicesResponse devices;
  ASSERT_TRUE(Call(&pb::Jobs::Stub::ListDevices, pb::ListDevicesRequest(), &devices).ok());
  for (const pb::Device& device : devices.devices()) {
    EXPECT_EQ(device.results_refused(), device.owner() == "bob" ? 3u : 0u);
  }
}

TEST_F(SchedulerTest, ARestartKeepsLeasesAndWhatIsStaged) {
  pb::SubmitResponse submitted;
  ASSERT_TRUE(Submit("key", &submitted).ok());
  const auto ann = Agent("ann");
  const pb::PollJobsResponse work = ann->Poll(1, 1000);
  ASSERT_TRUE(ann->Upload(work.leases(0), "out", "data").ok());
  Restart();
  ASSERT_TRUE(ann->Register("").ok()) << "known by its key";
  EXPECT_TRUE(ann->HandIn(ann->MakeResult(work.jobs(0), work.leases(0), "data")).accepted());
  EXPECT_EQ(JobNow(submitted.job_id()).state(), "done");
}

TEST_F(SchedulerTest, APollWaitsAsLongAsItSaysAndEndsWhenWorkComes) {
  const auto ann = Agent("ann");
  EXPECT_EQ(ann->Poll(1, 200).leases_size(), 0);
  std::thread submitter([this] {
    pb::SubmitResponse submitted;
    EXPECT_TRUE(Submit("key", &submitted).ok());
  });
  EXPECT_EQ(ann->Poll(1, 10'000).leases_size(), 1);
  submitter.join();
}

}  // namespace
}  // namespace corpgrid::scheduler
