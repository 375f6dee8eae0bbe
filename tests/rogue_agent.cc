// A device with a proper key and join token that does not play fair: it speaks to the scheduler
// directly. The honest output of shard i is the text "shard i\n", whatever the job's command.
//
//   rogue_agent SCHEDULER KEYFILE NAME MODE      (the join token is in CORPGRID_JOIN)
//
// It prints a line for everything it does, and runs until it is killed.
#include <fmt/format.h>
#include <grpcpp/grpcpp.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "base/status_macros.h"
#include "corpgrid/v1/objects.grpc.pb.h"
#include "corpgrid/v1/scheduler.grpc.pb.h"
#include "crypto/signature.h"
#include "job/spec.h"
#include "job/statement.h"
#include "rpc/connect.h"
#include "rpc/registration.h"
#include "rpc/status.h"
#include "rpc/transfer.h"

namespace corpgrid {
namespace {

namespace pb = corpgrid::v1;

constexpr int64_t kCallMs = 10'000;

void Say(const std::string& line) {
  std::printf("%s\n", line.c_str());
  std::fflush(stdout);
}

void Sleep(int64_t ms) { std::this_thread::sleep_for(std::chrono::milliseconds(ms)); }

struct Work {
  pb::Lease lease;
  pb::JobTicket ticket;
  std::string output_name;
};

class Rogue {
 public:
  Rogue(const std::shared_ptr<grpc::Channel>& channel, crypto::KeyPair key)
      : scheduler_(pb::Scheduler::NewStub(channel)),
        objects_(pb::Objects::NewStub(channel)),
        key_(std::move(key)) {}

  absl::Status Register(const std::string& name) {
    pb::RegisterAgentRequest request;
    request.set_public_key(std::string(key_.public_key().Raw()));
    request.mutable_info()->set_name(name);
    request.mutable_info()->set_cpus(4);
    request.mutable_info()->set_memory_bytes(8ull << 30);
    request.mutable_info()->add_backends("cpu");
    request.set_join_token(std::getenv("CORPGRID_JOIN") ? std::getenv("CORPGRID_JOIN") : "");
    request.set_wall_time_ms(std::chrono::duration_cast<std::chrono::milliseconds>(
                                 std::chrono::system_clock::now().time_since_epoch())
                                 .count());
    request.set_nonce(crypto::RandomBytes(16));
    request.set_signature(key_.Sign(rpc::RegistrationStatement(request)));
    request.mutable_condition()->set_source(pb::Condition::MAINS);
    grpc::ClientContext context;
    RETURN_IF_ERROR(rpc::FromGrpc(scheduler_->RegisterAgent(&context, request, &registration_)));
    Say(fmt::format("registered as {}", registration_.device_id()));
    return absl::OkStatus();
  }

  // Leases that were not given before.
  absl::StatusOr<std::vector<Work>> Poll(uint32_t max_shards) {
    pb::PollJobsRequest request;
    request.mutable_condition()->set_source(pb::Condition::MAINS);
    request.set_max_shards(max_shards);
    request.set_wait_ms(2000);
    for (const uint64_t attempt : held_) request.add_held_attempts(attempt);
    pb::PollJobsResponse reply;
    grpc::ClientContext context;
    rpc::PrepareCall(&context, kCallMs, rpc::kSessionKey, registration_.session());
    RETURN_IF_ERROR(rpc::FromGrpc(scheduler_->PollJobs(&context, request, &reply)));
    for (const pb::JobTicket& ticket : reply.jobs()) tickets_[ticket.job_id()] = ticket;
    std::vector<Work> work;
    for (const pb::Lease& lease : reply.leases()) {
      held_.push_back(lease.attempt_id());
      Work one{lease, tickets_[lease.job_id()], ""};
      ASSIGN_OR_RETURN(one.output_name, OutputName(one));
      work.push_back(std::move(one));
      Say(fmt::format("leased shard {} as attempt {}", lease.shard(), lease.attempt_id()));
    }
    return work;
  }

  absl::StatusOr<pb::OutputRef> Stage(const Work& work, const std::string& bytes) {
    const rpc::ObjectsClient::Upload upload =
        rpc::UploadBytes(GrantOf(work), work.output_name, bytes);
    rpc::ObjectsClient client(objects_.get(), rpc::kSessionKey, registration_.session());
    ASSIGN_OR_RETURN(const std::vector<pb::StagedObject> staged, client.Put({&upload, 1}));
    return Claim(work, staged[0].hash(), bytes.size());
  }

  static pb::OutputRef Claim(const Work& work, const std::string& hash, uint64_t size) {
    pb::OutputRef output;
    output.set_name(work.output_name);
    output.set_hash(hash);
    output.set_size_bytes(size);
    return output;
  }

  // A success with this output, properly signed.
  absl::StatusOr<pb::Result> Sign(const Work& work, const pb::OutputRef& output) {
    job::Result result{job::Outcome::kExited, 0, {}};
    ASSIGN_OR_RETURN(const crypto::Hash hash, crypto::Hash::FromRaw(output.hash()));
    result.outputs.push_back({output.name(), hash, output.size_bytes()});
    ASSIGN_OR_RETURN(const crypto::Hash bundle, crypto::Hash::FromRaw(work.ticket.bundle_hash()));
    ASSIGN_OR_RETURN(const crypto::Hash spec, crypto::Hash::FromRaw(work.ticket.spec_hash()));
    const job::ResultStatement statement{.grid_id = registration_.grid_id(),
                                         .device = DeviceId{registration_.device_id()},
                                         .shard = {JobId{work.lease.job_id()}, work.lease.shard()},
                                         .attempt = AttemptId{work.lease.attempt_id()},
                                         .lease_token = work.lease.token(),
                                         .bundle = bundle,
                                         .spec = spec,
                                         .result_key = result.Key()};
    pb::Result message;
    message.set_attempt_id(work.lease.attempt_id());
    message.set_lease_token(work.lease.token());
    message.set_outcome(static_cast<uint32_t>(job::Outcome::kExited));
    *message.add_outputs() = output;
    message.set_signature(key_.Sign(statement.Encode()));
    return message;
  }

  absl::Status HandIn(const std::vector<pb::Result>& results) {
    pb::SubmitResultRequest request;
    for (const pb::Result& result : results) *request.add_results() = result;
    pb::SubmitResultResponse reply;
    grpc::ClientContext context;
    rpc::PrepareCall(&context, kCallMs, rpc::kSessionKey, registration_.session());
    RETURN_IF_ERROR(rpc::FromGrpc(scheduler_->SubmitResult(&context, request, &reply)));
    std::map<std::string, int> verdicts;
    for (const auto& verdict : reply.verdicts()) {
      ++verdicts[verdict.accepted() ? "accepted" : "refused: " + verdict.reason()];
    }
    for (const auto& [verdict, times] : verdicts) {
      Say(fmt::format("attempt {} {} ({} times)", results[0].attempt_id(), verdict, times));
    }
    return absl::OkStatus();
  }

 private:
  static pb::Grant GrantOf(const Work& work) {
    pb::Grant grant;
    grant.set_attempt_id(work.lease.attempt_id());
    grant.set_lease_token(work.lease.token());
    return grant;
  }

  // The first output that the job's spec asks for.
  absl::StatusOr<std::string> OutputName(const Work& work) {
    ASSIGN_OR_RETURN(const crypto::Hash hash, crypto::Hash::FromRaw(work.ticket.spec_hash()));
    rpc::ObjectsClient client(objects_.get(), rpc::kSessionKey, registration_.session());
    std::string bytes;
    RETURN_IF_ERROR(
        client.Get(GrantOf(work), hash, work.ticket.spec_bytes(), [&](std::string_view data) {
          bytes += data;
          return absl::OkStatus();
        }));
    ASSIGN_OR_RETURN(const job::JobSpec spec, job::JobSpec::Decode(bytes));
    return job::Expand(spec->outputs.at(0), *spec, work.lease.shard());
  }

  std::unique_ptr<pb::Scheduler::Stub> scheduler_;
  std::unique_ptr<pb::Objects::Stub> objects_;
  crypto::KeyPair key_;
  pb::RegisterAgentResponse registration_;
  std::map<uint64_t, pb::JobTicket> tickets_;
  std::vector<uint64_t> held_;
};

std::string Honest(const Work& work) { return fmt::format("shard {}\n", work.lease.shard()); }

absl::Status BeHonest(Rogue& rogue, const Work& work) {
  ASSIGN_OR_RETURN(const pb::OutputRef output, rogue.Stage(work, Honest(work)));
  ASSIGN_OR_RETURN(const pb::Result result, rogue.Sign(work, output));
  return rogue.HandIn({result});
}

absl::Status WrongBytes(Rogue& rogue, const Work& work) {
  ASSIGN_OR_RETURN(const pb::OutputRef output, rogue.Stage(work, "garbage\n"));
  ASSIGN_OR_RETURN(const pb::Result result, rogue.Sign(work, output));
  return rogue.HandIn({result});
}

// Hands in what others did: its own last result for this attempt, this result for the attempts
// around it, which are other devices', and the last result's signature.
absl::Status Copycat(Rogue& rogue, const Work& work) {
  static std::optional<pb::Result> last;
  ASSIGN_OR_RETURN(const pb::OutputRef output, rogue.Stage(work, Honest(work)));
  ASSIGN_OR_RETURN(const pb::Result good, rogue.Sign(work, output));
  for (const int64_t offset : {-2, -1, 1, 2}) {
    pb::Result stolen = good;
    stolen.set_attempt_id(good.attempt_id() + static_cast<uint64_t>(offset));
    RETURN_IF_ERROR(rogue.HandIn({stolen}));
  }
  if (last) {
    pb::Result replayed = *last;
    replayed.set_attempt_id(good.attempt_id());
    replayed.set_lease_token(good.lease_token());
    RETURN_IF_ERROR(rogue.HandIn({replayed}));
    replayed.set_lease_token(last->lease_token());
    RETURN_IF_ERROR(rogue.HandIn({replayed}));
  }
  last = good;
  return rogue.HandIn({good});
}

absl::Status BadSignature(Rogue& rogue, const Work& work) {
  ASSIGN_OR_RETURN(const pb::OutputRef output, rogue.Stage(work, Honest(work)));
  ASSIGN_OR_RETURN(pb::Result result, rogue.Sign(work, output));
  (*result.mutable_signature())[5] ^= 1;
  return rogue.HandIn({result});
}

// Claims the right hash without having computed, or uploaded, its bytes.
absl::Status TamperedClaim(Rogue& rogue, const Work& work) {
  ASSIGN_OR_RETURN(const pb::OutputRef staged, rogue.Stage(work, "garbage\n"));
  const std::string hash(crypto::Blake3(Honest(work)).Raw());
  ASSIGN_OR_RETURN(const pb::Result result,
                   rogue.Sign(work, Rogue::Claim(work, hash, Honest(work).size())));
  return rogue.HandIn({result});
}

absl::Status Flood(Rogue& rogue, const Work& work) {
  ASSIGN_OR_RETURN(const pb::OutputRef output, rogue.Stage(work, Honest(work)));
  ASSIGN_OR_RETURN(const pb::Result result, rogue.Sign(work, output));
  for (int i = 0; i < 10; ++i) RETURN_IF_ERROR(rogue.HandIn(std::vector(50, result)));
  return absl::OkStatus();
}

absl::Status Late(Rogue& rogue, const Work& work) {
  ASSIGN_OR_RETURN(const pb::OutputRef output, rogue.Stage(work, Honest(work)));
  ASSIGN_OR_RETURN(const pb::Result result, rogue.Sign(work, output));
  Sleep(work.lease.ttl_ms() + 2000);
  return rogue.HandIn({result});
}

// A mode treats each lease; after a `last` one it never polls again, because a poll says "I live".
struct Mode {
  std::function<absl::Status(Rogue&, const Work&)> treat;
  bool last = false;
};

const std::map<std::string, Mode>& Modes() {
  static const auto& modes = *new std::map<std::string, Mode>{
      {"honest", {BeHonest}},
      {"wrong-bytes", {WrongBytes}},
      {"copycat", {Copycat}},
      {"flood", {Flood}},
      {"silent", {[](Rogue&, const Work&) { return absl::OkStatus(); }, true}},
      {"late", {Late, true}},
      {"bad-signature", {BadSignature, true}},
      {"tampered-claim", {TamperedClaim, true}},
  };
  return modes;
}

absl::Status Run(const std::string& address, const std::string& key_file, const std::string& name,
                 const Mode& mode) {
  ASSIGN_OR_RETURN(const std::shared_ptr<grpc::Channel> channel, rpc::Connect(address));
  ASSIGN_OR_RETURN(crypto::KeyPair key, crypto::KeyPair::LoadOrCreate(key_file));
  Rogue rogue(channel, std::move(key));
  RETURN_IF_ERROR(rogue.Register(name));
  while (true) {
    ASSIGN_OR_RETURN(const std::vector<Work> leases, rogue.Poll(mode.last ? 1 : 2));
    for (const Work& work : leases) {
      const absl::Status status = mode.treat(rogue, work);
      if (!status.ok()) Say(fmt::format("error: {}", status.ToString()));
    }
    while (mode.last && !leases.empty()) Sleep(1000);
  }
}

}  // namespace
}  // namespace corpgrid

int main(int argc, char** argv) {
  const auto& modes = corpgrid::Modes();
  if (argc != 5 || !modes.contains(argv[4])) {
    std::fprintf(stderr, "usage: rogue_agent SCHEDULER KEYFILE NAME MODE, one of:\n");
    for (const auto& [name, mode] : modes) std::fprintf(stderr, "  %s\n", name.c_str());
    return 2;
  }
  const absl::Status status = corpgrid::Run(argv[1], argv[2], argv[3], modes.at(argv[4]));
  std::fprintf(stderr, "rogue_agent: %s\n", status.ToString().c_str());
  return 1;
}
