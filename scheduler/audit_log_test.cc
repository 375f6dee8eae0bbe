// The audit log over a real connection: who may ask what, and what is not signed.

#include <filesystem>
#include <string>

#include "audit/keeper.h"
#include "audit/reading.h"
#include "base/sqlite.h"
#include "corpgrid/v1/audit.grpc.pb.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "scheduler/test_scheduler.h"

namespace corpgrid::scheduler {
namespace {

using ::testing::HasSubstr;

class AuditLogTest : public SchedulerTest {
 protected:
  template <typename Request, typename Response>
  grpc::Status Ask(grpc::Status (pb::Audit::Stub::*method)(grpc::ClientContext*, const Request&,
                                                           Response*),
                   const Request& request, Response* response, const char* key,
                   const std::string& secret) {
    const auto stub = pb::Audit::NewStub(channel_);
    grpc::ClientContext context;
    rpc::PrepareCall(&context, kCallMs, key, secret);
    return (stub.get()->*method)(&context, request, response);
  }
  template <typename Request, typename Response>
  Response AskAsPerson(grpc::Status (pb::Audit::Stub::*method)(grpc::ClientContext*, const Request&,
                                                               Response*),
                       const Request& request) {
    Response response;
    const grpc::Status status = Ask(method, request, &response, rpc::kTokenKey, grid_.token);
    EXPECT_TRUE(status.ok()) << status.error_message();
    return response;
  }
  pb::CheckpointResponse Newest(uint64_t old_size = 0) {
    pb::CheckpointRequest request;
    request.set_old_size(old_size);
    return AskAsPerson(&pb::Audit::Stub::Checkpoint, request);
  }
  audit::Checkpoint Verified(const pb::CheckpointResponse& reply) {
    const auto parsed = audit::SignedCheckpoint::Parse(reply.note());
    EXPECT_TRUE(parsed.ok()) << parsed.status();
    const auto key = crypto::PublicKey::FromRaw(reply.public_key());
    EXPECT_TRUE(parsed->Verify(audit::OriginOf(grid_.grid_id), *key).ok());
    return parsed->checkpoint;
  }
  template <typename Field>
  static audit::Proof ToProof(const Field& hashes) {
    audit::Proof proof;
    for (const std::string& raw : hashes) proof.push_back(audit::TreeHash::FromRaw(raw).value());
    return proof;
  }
  void RestartWithSql(const std::string& sql) {
    scheduler_->Stop();
    scheduler_.reset();
    {
      auto db = sqlite::Database::Open(folder_.path() + "/scheduler/state.db");
      const absl::Status status = db->RunScript(sql);
      ASSERT_TRUE(status.ok()) << status;
    }
    Start();
  }
};

TEST_F(AuditLogTest, ShowsItselfToPeopleAndToAgentsItsCheckpoint) {
  const auto ann = Agent("ann");
  pb::CheckpointResponse checkpoint;
  pb::ListEntriesResponse entries;
  pb::ProveInclusionResponse inclusion;
  const std::string session = ann->registered.session();
  Newest();  // which the agent is shown, too
  EXPECT_TRUE(Ask(&pb::Audit::Stub::Checkpoint, pb::CheckpointRequest(), &checkpoint,
                  rpc::kSessionKey, session)
                  .ok());
  EXPECT_EQ(Verified(checkpoint).size, 3u) << "the scheduler's start, the token, the device";
  const std::pair<const char*, std::string> callers[] = {{rpc::kSessionKey, session},
                                                         {rpc::kTokenKey, "wrong"}};
  for (const auto& [key, secret] : callers) {
    EXPECT_FALSE(
        Ask(&pb::Audit::Stub::ListEntries, pb::ListEntriesRequest(), &entries, key, secret).ok());
    EXPECT_FALSE(
        Ask(&pb::Audit::Stub::ProveInclusion, pb::ProveInclusionRequest(), &inclusion, key, secret)
            .ok());
  }
  const std::pair<const char*, const char*> refused[] = {{rpc::kSessionKey, "no such session"},
                                                         {rpc::kTokenKey, "use the data folder"}};
  for (const auto& [key, message] : refused) {
    const grpc::Status status =
        Ask(&pb::Audit::Stub::Checkpoint, pb::CheckpointRequest(), &checkpoint, key, "stale");
    EXPECT_EQ(status.error_code(), grpc::StatusCode::UNAUTHENTICATED);
    EXPECT_THAT(status.error_message(), HasSubstr(message));
  }
}

TEST_F(AuditLogTest, ProvesWhatItSays) {
  const auto ann = Agent("ann");
  const audit::Checkpoint before = Verified(Newest());
  for (int i = 0; i < 9; ++i) JoinToken("owner " + std::to_string(i));
  Restart();
  JoinToken("after a restart");
  const pb::CheckpointResponse reply = Newest(before.size);
  const audit::Checkpoint after = Verified(reply);
  EXPECT_EQ(reply.trouble(), "");
  EXPECT_EQ(before.size, 3u);
  EXPECT_EQ(after.size, 14u);
  EXPECT_TRUE(audit::VerifyConsistency(before.size, before.root, after.size, after.root,
                                       ToProof(reply.consistency()))
                  .ok());
  audit::Reading reading(after, {{before, "before"}});
  const auto list = AskAsPerson(&pb::Audit::Stub::ListEntries, pb::ListEntriesRequest());
  for (const pb::AuditEntry& e : list.entries()) {
    const absl::Status status = reading.Take(e.index(), e.entry(), e.nodes());
    EXPECT_TRUE(status.ok()) << status;
    pb::ProveInclusionRequest request;
    request.set_index(e.index());
    request.set_size(after.size);
    const auto proven = AskAsPerson(&pb::Audit::Stub::ProveInclusion, request);
    EXPECT_EQ(proven.entry().entry(), e.entry());
    EXPECT_TRUE(audit::VerifyInclusion(audit::LeafHash(e.entry()), e.index(), after.size,
                                       ToProof(proven.proof()), after.root)
                    .ok());
  }
  EXPECT_TRUE(reading.Finish().ok()) << reading.Finish();
}

TEST_F(AuditLogTest, NothingIsProvenBeyondTheLastCheckpoint) {
  JoinToken("ann");
  pb::ProveInclusionRequest request;
  request.set_size(3);
  pb::ProveInclusionResponse response;
  const grpc::Status status =
      Ask(&pb::Audit::Stub::ProveInclusion, request, &response, rpc::kTokenKey, grid_.token);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::OUT_OF_RANGE) << status.error_message();
}

TEST_F(AuditLogTest, TheKeyIsNobodyElses) {
  const auto mode = std::filesystem::status(folder_.path() + "/scheduler/audit.key").permissions();
  EXPECT_EQ(mode, std::filesystem::perms::owner_read | std::filesystem::perms::owner_write);
  const std::string key = Newest().public_key();
  Restart();
  EXPECT_EQ(Newest().public_key(), key);
}

TEST_F(AuditLogTest, SignsNothingThatContradictsWhatItSigned) {
  JoinToken("ann");
  JoinToken("bob");
  JoinToken("eve");
  const audit::Checkpoint before = Verified(Newest());
  EXPECT_EQ(before.size, 4u);
  // A log of the first entry alone, with the tree that fits.
  RestartWithSql(
      "DELETE FROM audit_log WHERE entry_index > 0;"
      "UPDATE meta SET audit_size = 1, audit_frontier = (SELECT nodes FROM audit_log)");
  for (int i = 0; i < 4; ++i) {
    const pb::CheckpointResponse reply = Newest(before.size);
    EXPECT_EQ(Verified(reply), before) << "it shows the last good one";
    EXPECT_THAT(reply.trouble(), HasSubstr(i < 2 ? "the audit log was cut: it has"
                                                 : "log was "
                                                   "changed"));
    JoinToken("another " + std::to_string(i));
  }
}

TEST_F(AuditLogTest, WhatNobodyAskedForIsSignedBeforeTheEnd) {
  JoinToken("ann");
  JoinToken("bob");
  RestartWithSql(
      "DELETE FROM audit_log WHERE entry_index > 0;"
      "UPDATE meta SET audit_size = 1, audit_frontier = (SELECT nodes FROM audit_log)");
  EXPECT_THAT(Newest().trouble(), HasSubstr("the audit log was cut"));
}

}  // namespace
}  // namespace corpgrid::scheduler
