#include "cli/json.h"

#include "corpgrid/v1/jobs.pb.h"
#include "gtest/gtest.h"

namespace corpgrid::cli {
namespace {

TEST(Json, KeepsNamesAndOrderAndShowsEveryField) {
  corpgrid::v1::Shard shard;
  shard.set_index(3);
  shard.set_state("done");
  auto* attempt = shard.add_attempts();
  attempt->set_id(1ull << 60);
  attempt->set_signature("\x01\xff");
  auto* output = attempt->add_outputs();
  output->set_name("tile.ppm");
  output->set_hash(std::string("\x00\x10", 2));

  const Json json = ToJson(shard);
  EXPECT_EQ(json.dump().substr(0, 40), R"({"index":3,"state":"done","tries":0,"err)");
  EXPECT_EQ(json["attempts"][0]["id"], 1ull << 60) << "64-bit numbers are numbers";
  EXPECT_EQ(json["attempts"][0]["signature"], "01ff");
  EXPECT_EQ(json["attempts"][0]["outputs"][0]["hash"], "0010");
  EXPECT_TRUE(json["outputs"].is_array());
}

TEST(Json, EnumsAreLowerCaseAndMissingMessagesAreThere) {
  corpgrid::v1::Device device;
  device.mutable_condition()->set_source(corpgrid::v1::Condition::BATTERY);
  const Json json = ToJson(device);
  EXPECT_EQ(json["condition"]["source"], "battery");
  EXPECT_EQ(json["info"]["cpus"], 0);
}

TEST(Json, LogsAreTextEvenWhenTheyAreNot) {
  corpgrid::v1::LogsResponse logs;
  logs.set_stdout_tail("ok\n\xff");
  EXPECT_EQ(Dump(ToJson(logs)),
            "{\n  \"stdout_tail\": \"ok\\n\xef\xbf\xbd\",\n  \"stderr_tail\": \"\"\n}\n");
}

job::JobSpec RenderSpec() {
  job::JobFields fields;
  fields.name = "render";
  fields.command = {"./trace", "--tile", "{shard}"};
  fields.shards = 64;
  fields.outputs = {"tile.ppm"};
  fields.env = {{"SAMPLES", "64"}};
  fields.redundancy = {.replicas = 2, .quorum = 2};
  fields.limits.wall_ms = 600'000;
  return *job::JobSpec::Make(fields);
}

TEST(SpecView, LooksLikeTheJobFile) {
  EXPECT_EQ(ToYaml(RenderSpec()),
            R"(name: render
run: {command: ["./trace", "--tile", "{shard}"]}
shards: 64
outputs: ["tile.ppm"]
env: {SAMPLES: "64"}
resources: {cpus: 1, memory: 512 MiB, vram: 0 B, backend: [cpu]}
redundancy: {replicas: 2, quorum: 2, validator: exact, distinct: owner}
limits: {wall: 10 min 0 s, output: 64 MiB, disk: 256 MiB, processes: 256, network: false}
retries: 3
)");
}

TEST(SpecView, ShowsCheckpointsOfJobsThatHaveThem) {
  job::JobFields fields = *RenderSpec();
  fields.checkpoint = {.folder = "state", .every_ms = 30'000};
  const job::JobSpec spec = *job::JobSpec::Make(fields);
  EXPECT_TRUE(ToYaml(spec).ends_with("checkpoint: {folder: \"state\", every: 30.0 s}\n"));
  EXPECT_EQ(ToJson(spec)["checkpoint"]["every_ms"], 30'000);
  EXPECT_FALSE(ToJson(RenderSpec()).contains("checkpoint"));
}

TEST(SpecView, ShowsWhereAJobMayRun) {
  job::JobFields fields = *RenderSpec();
  fields.placement = {.labels = {"os=debian12"}, .sites = {"Bern"}, .attested = true};
  const job::JobSpec spec = *job::JobSpec::Make(fields);
  EXPECT_TRUE(ToYaml(spec).ends_with(
      "placement: {labels: [\"os=debian12\"], sites: [\"Bern\"], attested: true}\n"));
  EXPECT_EQ(ToJson(spec)["placement"]["sites"][0], "Bern");
  EXPECT_FALSE(ToJson(RenderSpec()).contains("placement"));
}

TEST(SpecView, ShowsHowResultsAreCompared) {
  job::JobFields fields = *RenderSpec();
  fields.redundancy.validator = job::Validator::kNumeric;
  fields.redundancy.tolerance = {.format = job::NumberFormat::kCsv, .relative = 1e-6};
  const job::JobSpec numeric = *job::JobSpec::Make(fields);
  EXPECT_NE(ToYaml(numeric).find("validator: {numeric: csv, absolute: 0, relative: 1e-06}, "),
            std::string::npos);
  EXPECT_EQ(ToJson(numeric)["redundancy"]["validator"]["relative"], 1e-6);
  fields.redundancy.validator = job::Validator::kProgram;
  fields.redundancy.compare = {"./compare"};
  const job::JobSpec program = *job::JobSpec::Make(fields);
  EXPECT_NE(ToYaml(program).find("validator: {command: [\"./compare\"]}, "), std::string::npos);
  EXPECT_EQ(ToJson(program)["redundancy"]["validator"]["command"][0], "./compare");
}

TEST(SpecView, JsonHasPlainNumbers) {
  const Json json = ToJson(RenderSpec());
  EXPECT_EQ(json["limits"]["wall_ms"], 600'000);
  EXPECT_EQ(json["resources"]["memory_bytes"], 512ull << 20);
  EXPECT_EQ(json["redundancy"]["distinct"], "owner");
}

}  // namespace
}  // namespace corpgrid::cli
