#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "audit/batch_signature.h"
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
#include "scheduler/scheduler.h"

namespace corpgrid::scheduler {
namespace pb = corpgrid::v1;

inline constexpr int64_t kCallMs = 10'000;

// A device that speaks the protocol by hand.
class TestAgent {
 public:
  explicit TestAgent(const std::shared_ptr<grpc::Channel>& channel)
      : key_(crypto::KeyPair::Generate()),
        stub_(pb::Scheduler::NewStub(channel)),
        objects_(pb::Objects::NewStub(channel)) {}

  pb::RegisterAgentRequest Registration(const std::string& join_token) const {
    pb::RegisterAgentRequest request;
    request.set_public_key(std::string(key_.public_key().Raw()));
    request.mutable_info()->set_name("test");
    request.mutable_info()->set_cpus(2);
    request.mutable_info()->set_memory_bytes(8ull << 30);
    request.mutable_info()->add_backends("cpu");
    request.set_join_token(join_token);
    request.set_signature(key_.Sign(rpc::RegistrationStatement(request)));
    return request;
  }

  grpc::Status Register(const std::string& join_token) {
    const pb::RegisterAgentRequest request = Registration(join_token);
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

  // Names what was uploaded as the lease's state.
  grpc::Status Report(const pb::Lease& lease, const std::string& name, const std::string& data) {
    pb::ReportCheckpointRequest request;
    request.set_attempt_id(lease.attempt_id());
    request.set_lease_token(lease.token());
    request.mutable_state()->set_name(name);
    request.mutable_state()->set_hash(std::string(crypto::Blake3(data).Raw()));
    request.mutable_state()->set_size_bytes(data.size());
    pb::ReportCheckpointResponse response;
    grpc::ClientContext context;
    rpc::PrepareCall(&context, kCallMs, rpc::kSessionKey, registered.session());
    return stub_->ReportCheckpoint(&context, request, &response);
  }

  // A result for `lease` whose one output claims to be `data`.
  pb::Result MakeResult(const pb::JobTicket& ticket, const pb::Lease& lease,
                        const std::string& data) {
    pb::Result out = Unsigned(lease, data);
    out.set_signature(key_.Sign(StatementOf(ticket, lease, data)));
    return out;
  }

  // The same for all leases of `work`, under one signature.
  pb::SubmitResultRequest MakeBatch(const pb::PollJobsResponse& work, const std::string& data) {
    pb::SubmitResultRequest request;
    std::vector<audit::TreeHash> leaves;
    for (const pb::Lease& lease : work.leases()) {
      leaves.push_back(audit::LeafHash(StatementOf(work.jobs(0), lease, data)));
      *request.add_results() = Unsigned(lease, data);
      request.mutable_results()->rbegin()->set_signature(std::string(leaves.back().Raw()));
    }
    request.set_signature(audit::SignBatch(key_, leaves));
    return request;
  }

  // What it signs of a result whose one output is `data`.
  std::string StatementOf(const pb::JobTicket& ticket, const pb::Lease& lease,
                          const std::string& data) const {
    return job::ResultStatement{.grid_id = registered.grid_id(),
                                .device = DeviceId{registered.device_id()},
                                .shard = {JobId{lease.job_id()}, lease.shard()},
                                .attempt = AttemptId{lease.attempt_id()},
                                .lease_token = lease.token(),
                                .bundle = *crypto::Hash::FromRaw(ticket.bundle_hash()),
                                .spec = *crypto::Hash::FromRaw(ticket.spec_hash()),
                                .result_key = ResultOf(data).Key()}
        .Encode();
  }

  const crypto::PublicKey& public_key() const { return key_.public_key(); }

  pb::SubmitResultResponse HandIn(const pb::SubmitResultRequest& request) {
    pb::SubmitResultResponse response;
    grpc::ClientContext context;
    rpc::PrepareCall(&context, kCallMs, rpc::kSessionKey, registered.session());
    const grpc::Status status = stub_->SubmitResult(&context, request, &response);
    EXPECT_TRUE(status.ok()) << status.error_message();
    return response;
  }

  pb::SubmitResultResponse::Verdict HandIn(const pb::Result& result) {
    pb::SubmitResultRequest request;
    *request.add_results() = result;
    const pb::SubmitResultResponse response = HandIn(request);
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
  static job::Result ResultOf(const std::string& data) {
    return {job::Outcome::kExited, 0, {{"out", crypto::Blake3(data), data.size()}}};
  }

  static pb::Result Unsigned(const pb::Lease& lease, const std::string& data) {
    const job::Result result = ResultOf(data);
    pb::Result out;
    out.set_attempt_id(lease.attempt_id());
    out.set_lease_token(lease.token());
    out.set_outcome(static_cast<uint32_t>(result.outcome));
    pb::OutputRef* ref = out.add_outputs();
    ref->set_name("out");
    ref->set_hash(std::string(result.outputs[0].hash.Raw()));
    ref->set_size_bytes(data.size());
    return out;
  }

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
    if (with_checkpoints_) {
      fields.checkpoint = job::Checkpoint{};
      fields.shards = 2;
    }
    if (adjust_) adjust_(&fields);
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
  bool with_checkpoints_ = false;
  std::function<void(job::JobFields*)> adjust_;  // what Submit() submits
  std::string spec_;
  std::unique_ptr<Scheduler> scheduler_;
  std::shared_ptr<grpc::Channel> channel_;
  std::unique_ptr<pb::Jobs::Stub> jobs_;
  std::unique_ptr<pb::Objects::Stub> objects_;
};

}  // namespace corpgrid::scheduler
