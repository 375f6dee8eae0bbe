// Writes what programs of this version say into a folder, for later versions to read
// (scheduler/golden_test.cc). Recorded once, before base/version.h says a new protocol version:
//   cmake --build --preset release --target golden && build/release/golden tests/data/protocol-N

#include <cstdint>
#include <cstdio>
#include <fstream>
#include <string>

#include "corpgrid/v1/scheduler.pb.h"
#include "crypto/signature.h"
#include "job/spec.h"
#include "job/statement.h"
#include "rpc/registration.h"

namespace corpgrid {
namespace {

namespace pb = corpgrid::v1;

bool Write(const std::string& folder, const std::string& name, const std::string& bytes) {
  std::ofstream out(folder + "/" + name, std::ios::binary);
  out << bytes;
  return static_cast<bool>(out.flush());
}

pb::Condition OnMains() {
  pb::Condition power;
  power.set_source(pb::Condition::MAINS);
  power.set_charge_percent(87);
  return power;
}

pb::RegisterAgentRequest Registration(const crypto::KeyPair& key) {
  pb::RegisterAgentRequest request;
  request.set_public_key(std::string(key.public_key().Raw()));
  pb::DeviceInfo& info = *request.mutable_info();
  info.set_name("recorded");
  info.set_site("Zürich");
  info.set_cpus(8);
  info.set_memory_bytes(16ull << 30);
  info.set_vram_bytes(4ull << 30);
  info.add_backends("cpu");
  info.add_backends("vulkan");
  info.set_network_allowed(true);
  info.set_version("0.1.0");
  request.set_join_token("cgj1." + std::string(64, 'a'));
  request.set_wall_time_ms(1'700'000'000'000);
  request.set_nonce("sixteen bytes...");
  request.set_signature(key.Sign(rpc::RegistrationStatement(request)));
  *request.mutable_condition() = OnMains();
  return request;
}

pb::RegisterAgentResponse Registered() {
  pb::RegisterAgentResponse response;
  response.set_grid_id("grid");
  response.set_device_id(7);
  response.set_session("session");
  response.set_heartbeat_ms(2000);
  response.set_lease_ttl_ms(10'000);
  response.set_owner("ann");
  response.set_batch_signatures(true);
  return response;
}

pb::PollJobsResponse Work() {
  pb::PollJobsResponse response;
  pb::JobTicket& job = *response.add_jobs();
  job.set_job_id(3);
  job.set_spec_hash(std::string(crypto::Blake3("spec").Raw()));
  job.set_spec_bytes(4);
  job.set_bundle_hash(std::string(crypto::Blake3("").Raw()));
  job.set_submitter_key(std::string(32, 'k'));
  job.set_signature(std::string(64, 's'));
  pb::Lease& lease = *response.add_leases();
  lease.set_attempt_id(11);
  lease.set_job_id(3);
  lease.set_shard(5);
  lease.set_token("fifteen bytes..");
  lease.set_ttl_ms(10'000);
  lease.set_checkpoint_hash(std::string(crypto::Blake3("state").Raw()));
  lease.set_careful(true);
  return response;
}

pb::SubmitResultRequest Results(const crypto::KeyPair& key) {
  pb::SubmitResultRequest request;
  *request.mutable_condition() = OnMains();
  pb::Result& result = *request.add_results();
  result.set_attempt_id(11);
  result.set_lease_token("fifteen bytes..");
  result.set_outcome(static_cast<uint32_t>(job::Outcome::kExited));
  pb::OutputRef& output = *result.add_outputs();
  output.set_name("out");
  output.set_hash(std::string(crypto::Blake3("data").Raw()));
  output.set_size_bytes(4);
  result.set_detail("detail");
  result.set_stdout_tail("stdout");
  result.set_stderr_tail("stderr");
  result.set_wall_ms(1);
  result.set_cpu_ms(2);
  result.set_max_rss_bytes(3);
  const job::ResultStatement statement{
      .grid_id = "grid",
      .device = DeviceId{7},
      .shard = {JobId{3}, 5},
      .attempt = AttemptId{11},
      .lease_token = "fifteen bytes..",
      .bundle = crypto::Blake3(""),
      .spec = crypto::Blake3("spec"),
      .result_key =
          job::Result{job::Outcome::kExited, 0, {{"out", crypto::Blake3("data"), 4}}}.Key()};
  result.set_signature(key.Sign(statement.Encode()));
  return request;
}

pb::HeartbeatResponse Stops() {
  pb::HeartbeatResponse response;
  pb::HeartbeatResponse::Stop& stop = *response.add_stop();
  stop.set_attempt_id(11);
  stop.set_reason("the device is drained");
  stop.set_give_back(true);
  return response;
}

// A job for each version of the spec up to 3; what is newer is for newer protocols.
std::string Spec(int version) {
  job::JobFields fields;
  fields.name = "recorded";
  fields.command = {"/bin/sh", "-c", "echo {shard}"};
  fields.env = {{"A", "1"}};
  fields.shards = 5;
  fields.outputs = {"out"};
  fields.redundancy.replicas = 3;
  fields.redundancy.quorum = 2;
  if (version >= 2) fields.checkpoint = job::Checkpoint{.folder = "state", .every_ms = 5000};
  if (version >= 3) {
    fields.redundancy.validator = job::Validator::kNumeric;
    fields.redundancy.tolerance = {job::NumberFormat::kCsv, 0.5, 1e-6};
    fields.priority = -3;
    fields.after = {1, 2};
    fields.deadline_ms = 60'000;
  }
  return job::JobSpec::Make(fields).value().Encode();
}

int Record(const std::string& folder) {
  const crypto::KeyPair key = crypto::KeyPair::Generate();
  const bool written =
      Write(folder, "register_agent_request", Registration(key).SerializeAsString()) &&
      Write(folder, "register_agent_response", Registered().SerializeAsString()) &&
      Write(folder, "poll_jobs_response", Work().SerializeAsString()) &&
      Write(folder, "submit_result_request", Results(key).SerializeAsString()) &&
      Write(folder, "heartbeat_response", Stops().SerializeAsString()) &&
      Write(folder, "job_spec_1", Spec(1)) && Write(folder, "job_spec_2", Spec(2)) &&
      Write(folder, "job_spec_3", Spec(3));
  if (written) return 0;
  std::perror(folder.c_str());
  return 1;
}

}  // namespace
}  // namespace corpgrid

int main(int argc, char** argv) {
  if (argc == 2) return corpgrid::Record(argv[1]);
  std::fputs("usage: golden FOLDER\n", stderr);
  return 2;
}
