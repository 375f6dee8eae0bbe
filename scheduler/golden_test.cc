// What programs of an older protocol version said is understood still (tests/golden.cc recorded
// it).

#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>

#include "base/sqlite.h"
#include "base/testing/temp_folder.h"
#include "corpgrid/v1/scheduler.pb.h"
#include "crypto/signature.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "job/spec.h"
#include "job/statement.h"
#include "scheduler/agent_messages.h"
#include "store/store.h"

namespace corpgrid::scheduler {
namespace {

namespace pb = corpgrid::v1;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::SizeIs;

std::string Recorded(const std::string& name) {
  // This program is in build/PRESET.
  const std::filesystem::path program = std::filesystem::read_symlink("/proc/self/exe");
  const std::filesystem::path path = program.parent_path() / "../../tests/data" / name;
  std::ifstream in(path, std::ios::binary);
  EXPECT_TRUE(in) << path;
  std::ostringstream bytes;
  bytes << in.rdbuf();
  return std::move(bytes).str();
}

template <typename Message>
Message Parsed(const std::string& name) {
  Message message;
  EXPECT_TRUE(message.ParseFromString(Recorded(name))) << name;
  return message;
}

TEST(GoldenTest, ARegistrationOfVersion1) {
  const auto request = Parsed<pb::RegisterAgentRequest>("protocol-1/register_agent_request");
  const auto command = CheckRegistration(request, {});
  ASSERT_TRUE(command.ok()) << command.status();
  EXPECT_EQ(command->device.name, "recorded");
  EXPECT_EQ(command->device.site, "Zürich");
  EXPECT_EQ(command->device.cpus, 8u);
  EXPECT_EQ(command->device.memory_bytes, 16ull << 30);
  EXPECT_EQ(command->device.backends, 0b101u);
  EXPECT_TRUE(command->device.network_allowed);
  EXPECT_TRUE(command->join_secret_hash.has_value());
  EXPECT_EQ(ToCondition(request.condition()).power, core::Power::kMains);
}

TEST(GoldenTest, AResultOfVersion1) {
  const auto key = crypto::PublicKey::FromRaw(
      Parsed<pb::RegisterAgentRequest>("protocol-1/register_agent_request").public_key());
  ASSERT_TRUE(key.ok());
  const auto request = Parsed<pb::SubmitResultRequest>("protocol-1/submit_result_request");
  ASSERT_EQ(request.results_size(), 1);
  const pb::Result& result = request.results(0);
  EXPECT_EQ(result.outcome(), static_cast<uint32_t>(job::Outcome::kExited));
  ASSERT_EQ(result.outputs_size(), 1);
  const job::Output output = {result.outputs(0).name(),
                              *crypto::Hash::FromRaw(result.outputs(0).hash()),
                              result.outputs(0).size_bytes()};
  const job::ResultStatement statement{
      .grid_id = "grid",
      .device = DeviceId{7},
      .shard = {JobId{3}, 5},
      .attempt = AttemptId{result.attempt_id()},
      .lease_token = result.lease_token(),
      .bundle = crypto::Blake3(""),
      .spec = crypto::Blake3("spec"),
      .result_key = job::Result{job::Outcome::kExited, result.exit_code(), {output}}.Key()};
  EXPECT_TRUE(crypto::Verify(*key, statement.Encode(), result.signature()).ok());
}

TEST(GoldenTest, AnswersOfASchedulerOfVersion1) {
  const auto registered = Parsed<pb::RegisterAgentResponse>("protocol-1/register_agent_response");
  EXPECT_EQ(registered.device_id(), 7u);
  EXPECT_EQ(registered.session(), "session");
  EXPECT_EQ(registered.lease_ttl_ms(), 10'000u);
  EXPECT_TRUE(registered.batch_signatures());
  const auto work = Parsed<pb::PollJobsResponse>("protocol-1/poll_jobs_response");
  ASSERT_EQ(work.jobs_size(), 1);
  ASSERT_EQ(work.leases_size(), 1);
  EXPECT_EQ(work.jobs(0).spec_hash(), crypto::Blake3("spec").Raw());
  EXPECT_EQ(work.leases(0).attempt_id(), 11u);
  EXPECT_EQ(work.leases(0).token(), "fifteen bytes..");
  EXPECT_EQ(work.leases(0).checkpoint_hash(), crypto::Blake3("state").Raw());
  EXPECT_TRUE(work.leases(0).careful());
  const auto stops = Parsed<pb::HeartbeatResponse>("protocol-1/heartbeat_response");
  ASSERT_EQ(stops.stop_size(), 1);
  EXPECT_TRUE(stops.stop(0).give_back());
}

TEST(GoldenTest, JobSpecsOfVersion1AreTheirBytesStill) {
  for (const char* name : {"job_spec_1", "job_spec_2", "job_spec_3"}) {
    const std::string bytes = Recorded(std::string("protocol-1/") + name);
    const auto spec = job::JobSpec::Decode(bytes);
    ASSERT_TRUE(spec.ok()) << name << ": " << spec.status();
    EXPECT_EQ(spec->Encode(), bytes) << name;
    EXPECT_EQ(spec->Protocol(), 1u) << name;
    EXPECT_THAT((*spec)->command, ElementsAre("/bin/sh", "-c", "echo {shard}")) << name;
  }
  const auto third = job::JobSpec::Decode(Recorded("protocol-1/job_spec_3"));
  EXPECT_EQ((*third)->checkpoint->every_ms, 5000);
  EXPECT_EQ((*third)->redundancy.tolerance.format, job::NumberFormat::kCsv);
  EXPECT_THAT((*third)->after, ElementsAre(1, 2));
}

// A job that is new goes to no agent of version 1.
TEST(GoldenTest, AJobWithAProjectIsForVersion2) {
  job::JobFields fields = **job::JobSpec::Decode(Recorded("protocol-1/job_spec_1"));
  fields.project = "lab";
  EXPECT_EQ(job::JobSpec::Make(fields)->Protocol(), 2u);
}

// The dump (`sqlite3 state.db .dump`) of a grid with a job that is done and one that runs.
TEST(GoldenTest, AStoreOfVersion1) {
  const testing::TempFolder folder;
  const std::string path = folder / "state.db";
  {
    sqlite::Database db = *sqlite::Database::Open(path);
    const absl::Status made = db.RunScript(Recorded("protocol-1/store.sql"));
    ASSERT_TRUE(made.ok()) << made;
  }
  const auto store = store::OpenSqlite(path);
  ASSERT_TRUE(store.ok()) << store.status();
  const auto loaded = (*store)->Load();
  ASSERT_TRUE(loaded.ok()) << loaded.status();
  ASSERT_THAT(loaded->devices, SizeIs(2));
  EXPECT_EQ(loaded->devices[0].protocol, 1u);
  EXPECT_EQ(loaded->devices[0].version, "0.1.0");
  ASSERT_THAT(loaded->jobs, SizeIs(1));
  EXPECT_TRUE(job::JobSpec::Decode(loaded->jobs[0].spec).ok());
  EXPECT_THAT(loaded->finished, SizeIs(1));
  const auto log = (*store)->AuditLog(0, 100);
  ASSERT_TRUE(log.ok());
  EXPECT_EQ(log->size(), loaded->meta.audit_size);
  EXPECT_THAT(log->at(0).entry, HasSubstr("\"event\""));
}

}  // namespace
}  // namespace corpgrid::scheduler
