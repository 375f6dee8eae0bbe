#include "job/job_file.h"

#include <chrono>
#include <filesystem>

#include "crypto/test_folder.h"
#include "fmt/format.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "job/test_job_file.h"

namespace corpgrid::job {
namespace {

using crypto::TestFolder;
using crypto::WriteText;

constexpr char kExample[] = R"(name: render
bundle: ./scene                 # a folder
run: {command: ["./trace", "--tile", "{shard}", "--of", "{shards}"]}
shards: 64
outputs: ["tile.ppm"]
env: {SAMPLES: "64"}
resources: {cpus: 2, memory: 256MiB, vram: 0, backend: [cpu]}
redundancy: {replicas: 2, quorum: 2, validator: exact, distinct: owner}
limits: {wall: 10min, output: 32MiB, disk: 2GiB, processes: 64, network: false}
retries: 5
checkpoint: {folder: progress, every: 30s}
)";

TEST(JobFileTest, ReadsEveryKey) {
  const TestFolder folder;
  std::filesystem::create_directory(folder / "scene");
  const auto file = ParseJobFile(kExample, folder / "job.yaml");
  ASSERT_TRUE(file.ok()) << file.status();
  EXPECT_EQ(file->bundle_path, folder / "scene");
  EXPECT_EQ(file->inputs_pattern, "");
  JobFields expected;
  expected.name = "render";
  expected.command = {"./trace", "--tile", "{shard}", "--of", "{shards}"};
  expected.env = {{"SAMPLES", "64"}};
  expected.shards = 64;
  expected.outputs = {"tile.ppm"};
  expected.resources = {2, 256 << 20, 0, {Backend::kCpu}};
  expected.redundancy = {2, 2, Validator::kExact, Distinct::kOwner};
  expected.limits = {600'000, 32 << 20, 2ull << 30, 64, false};
  expected.retries = 5;
  expected.checkpoint = {.folder = "progress", .every_ms = 30'000};
  EXPECT_EQ(file->fields, expected);
}

TEST(JobFileTest, WhatIsLeftOutHasTheDefaultsOfTheSpec) {
  const auto file = ParseJobFile("name: x\nrun: {command: [./t]}", "job.yaml");
  ASSERT_TRUE(file.ok()) << file.status();
  JobFields expected;
  expected.name = "x";
  expected.command = {"./t"};
  EXPECT_EQ(file->fields, expected);
  EXPECT_EQ(file->bundle_path, "");
}

TEST(JobFileTest, OrderAndStyleDoNotChangeTheSpec) {
  const auto flow = ParseJobFile(
      "name: x\nrun: {command: [./t, '1']}\nenv: {A: '1', B: \"2\"}\nshards: 3\n"
      "resources: {cpus: 2, backend: [cpu, cuda]}\nlimits: {wall: 90s, disk: 2GiB}\n",
      "job.yaml");
  const auto block = ParseJobFile(
      "\xef\xbb\xbf# a comment\r\nlimits:\r\n  disk: 2048 MiB\r\n  wall: 1.5min\r\nresources:\r\n"
      "  backend:\r\n  - cuda\r\n  - cpu\r\n  cpus: \"2\"\r\nshards: 3\r\nenv:\r\n  B: 2\r\n"
      "  A: 1\r\nrun:\r\n  command:\r\n  - ./t\r\n  - 1\r\nname: 'x'\r\n",
      "elsewhere/other.yaml");
  ASSERT_TRUE(flow.ok()) << flow.status();
  ASSERT_TRUE(block.ok()) << block.status();
  EXPECT_EQ(JobSpec::Make(flow->fields)->Encode(), JobSpec::Make(block->fields)->Encode());
}

TEST(JobFileTest, AllMistakesComeInOneGoInTheOrderOfTheFile) {
  EXPECT_EQ(MistakesIn(R"(nmae: render
bundel: ./scene
run: {cmd: ["./trace", "--tile", "{shard}"]}
shards: 0
cpus: 4
zebra: 1
limits: {wall: 10 minutes, retries: 2, network: yes, ram: 1}
redundancy:
  replicas: 2
  quorum: 3
outputs: [ok, ../up, "ü", "{tile}"]
)"),
            R"(job.yaml:1:1: unknown key "nmae"; did you mean "name:"?
job.yaml:2:1: unknown key "bundel"; did you mean "bundle:"?
job.yaml:3:7: unknown key "cmd" under "run:"; did you mean "command:"?
job.yaml:4:9: shards: expected a number from 1 to 10000000, got 0
job.yaml:5:1: unknown key "cpus"; did you mean "cpus:" under "resources:"?
job.yaml:6:1: unknown key "zebra", expected one of name, bundle, run, shards, inputs, outputs, env, resources, redundancy, limits, retries, checkpoint, placement, priority, after, deadline, project
job.yaml:7:16: limits.wall: expected a time with its unit, as in 10min (ms, s, min, h, d), got "10 minutes"; did you mean 10min?
job.yaml:7:28: unknown key "retries" under "limits:"; did you mean "retries:" at the top level?
job.yaml:7:49: limits.network: expected true or false, got "yes"; did you mean true?
job.yaml:7:54: unknown key "ram" under "limits:"; did you mean "memory:" under "resources:"?
job.yaml:10:11: redundancy.quorum: 3 equal results can never come from 2 replicas: raise replicas or lower quorum
job.yaml:11:15: outputs[1]: an output may not leave its folder (".."), got "../up"
job.yaml:11:27: outputs[3]: unknown placeholder {tile}, expected {shard}, {shards} or {input}; for the braces themselves write "{{tile}}")");
}

TEST(JobFileTest, WhatAJobNeeds) {
  const std::string command =
      "run.command: expected a program and its arguments: [\"./program\", \"arg\"]";
  EXPECT_EQ(MistakesIn("# mine\n\nshards: 1"),
            "job.yaml:3:1: name: a job needs a name\njob.yaml:3:1: " + command);
  EXPECT_EQ(MistakesIn("name: x\nrun: {}"), "job.yaml:2:6: " + command);
  EXPECT_EQ(MistakesIn("name: x\nrun: {command: []}"), "job.yaml:2:16: " + command);
  const std::string empty =
      "job.yaml:1:1: the file is empty; a job needs at least \"name:\" and \"run: {command: "
      "[...]}\"";
  for (const char* text : {"", "\n\n", "# nothing", "~", "---\n...\n"}) {
    EXPECT_EQ(MistakesIn(text), empty) << text;
  }
  EXPECT_EQ(MistakesIn("hello"),
            "job.yaml:1:1: expected keys and values, as in \"name: render\", got \"hello\"");
  EXPECT_EQ(MistakesIn("- a"),
            "job.yaml:1:1: expected keys and values, as in \"name: render\", got a list");
}

TEST(JobFileTest, Commands) {
  const auto message = [](const std::string& run) { return MistakesIn("name: x\n" + run); };
  EXPECT_EQ(message("run: {command: ./trace  -v {shard}}").substr(0, 15), "job.yaml:2:16: ");
  EXPECT_EQ(message("run:\n  command: ./trace  -v {shard}"),
            "job.yaml:3:12: run.command: expected a list (no shell reads the command), got "
            "\"./trace  -v {shard}\"; write it as [\"./trace\", \"-v\", \"{shard}\"]");
  EXPECT_EQ(message("run:\n  command: echo \"a\" | wc"),
            "job.yaml:3:12: run.command: expected a list (no shell reads the command), got \"echo "
            "\"a\" | wc\"; write it as [\"sh\", \"-c\", \"echo \\\"a\\\" | wc\"]");
  EXPECT_EQ(message("run: ./trace"),
            "job.yaml:2:6: run: expected {command: [...]}, got \"./trace\"; write it as {command: "
            "[\"./trace\"]}");
  EXPECT_EQ(
      message("run: [./trace]"),
      "job.yaml:2:6: run: expected {command: [...]}, got a list; write \"command:\" before it");
  EXPECT_EQ(message("run: {command: [./t, {shard}, ~, [a]]}"),
            "job.yaml:2:22: run.command[1]: a placeholder needs quotes, as in \"{shard}\"\n"
            "job.yaml:2:31: run.command[2]: expected a text, got nothing (\"\" is the empty text)\n"
            "job.yaml:2:34: run.command[3]: expected a text, got a list");
}

TEST(JobFileTest, Values) {
  CheckAfterHead({
      {"shards: 1e6",
       "job.yaml:3:9: shards: expected a whole number, got \"1e6\"; did you mean 1000000?"},
      {"shards: 1_000",
       "job.yaml:3:9: shards: expected a whole number, got \"1_000\"; did you mean 1000?"},
      {"shards: -1", "job.yaml:3:9: shards: expected a whole number, got \"-1\""},
      {"shards: 2.5", "job.yaml:3:9: shards: expected a whole number, got \"2.5\""},
      {"shards: [1]", "job.yaml:3:9: shards: expected a whole number, got a list"},
      {"shards:\nretries: 1", "job.yaml:3:1: shards: expected a whole number, got nothing"},
      {"shards: 99999999999", "job.yaml:3:9: shards: \"99999999999\" is too large"},
      {"retries: 101", "job.yaml:3:10: retries: expected a number from 0 to 100, got 101"},
      {"resources: {memory: 512M}",
       "job.yaml:3:21: resources.memory: expected a size, as in 512MiB (B, KB, MB, GB, TB, KiB, "
       "MiB, GiB, TiB), got \"512M\"; did you mean 512MiB?"},
      {"resources: {memory: 512}",
       "job.yaml:3:21: resources.memory: expected at least 1 MiB, got 512 B; did you mean 512MiB?"},
      {"resources: {memory: lots}",
       "job.yaml:3:21: resources.memory: expected a size, as in 512MiB (B, KB, MB, GB, TB, KiB, "
       "MiB, GiB, TiB), got \"lots\""},
      {"limits: {wall: 600}",
       "job.yaml:3:16: limits.wall: expected a time with its unit, as in 10min (ms, s, min, h, d), "
       "got \"600\"; did you mean 600s?"},
      {"limits: {wall: 2 Hours}",
       "job.yaml:3:16: limits.wall: expected a time with its unit, as in 10min (ms, s, min, h, d), "
       "got \"2 Hours\"; did you mean 2h?"},
      {"limits: {network: Off}",
       "job.yaml:3:19: limits.network: expected true or false, got \"Off\"; did you mean false?"},
      {"env: {A: x, B: , C: [1], D: {shard}}",
       "job.yaml:3:13: env.B: expected a text, got nothing (\"\" is the empty text)\n"
       "job.yaml:3:21: env.C: expected a text, got a list\n"
       "job.yaml:3:29: env.D: a placeholder needs quotes, as in \"{shard}\""},
      {"env: [A]",
       "job.yaml:3:6: env: expected names and values, as in {SAMPLES: \"64\"}, got a list"},
      {"outputs: tile.ppm",
       "job.yaml:3:10: outputs: expected a list, got \"tile.ppm\"; write it as [\"tile.ppm\"]"},
      {"limits:",
       "job.yaml:3:1: limits: expected keys (wall, output, disk, processes, network) and values, "
       "got nothing"},
  });
}

TEST(JobFileTest, Choices) {
  CheckAfterHead({
      {"resources: {backend: cuda}",
       "job.yaml:3:22: resources.backend: expected a list of the backends that will do, as in "
       "[\"cuda\"], got \"cuda\""},
      {"resources: {backend: [cudda], vram: 1GiB}",
       "job.yaml:3:23: resources.backend[0]: expected one of cpu, cuda, vulkan, opencl, metal, got "
       "\"cudda\"; did you mean cuda?"},
      {"redundancy: {distinct: owners}",
       "job.yaml:3:24: redundancy.distinct: expected one of owner, device, got \"owners\"; did you "
       "mean owner?"},
  });
}

TEST(JobFileTest, Checkpoints) {
  EXPECT_EQ(
      ParseJobFile("name: x\nrun: {command: [./t]}\ncheckpoint: {}", "job.yaml")->fields.checkpoint,
      Checkpoint{});
  CheckAfterHead({
      {"checkpoint: state",
       "job.yaml:3:13: checkpoint: expected {folder: state, every: 1min}, got \"state\""},
      {"checkpoint: {folder: a/b}",
       "job.yaml:3:22: checkpoint.folder: expected the name of a folder in the work folder, no "
       "path, got \"a/b\""},
      {"checkpoint: {every: 30}",
       "job.yaml:3:21: checkpoint.every: expected a time with its unit, as in 10min (ms, s, min, "
       "h, d), got \"30\"; did you mean 30s?"},
      {"checkpoint: {evry: 30s}",
       "job.yaml:3:14: unknown key \"evry\" under \"checkpoint:\"; did you mean \"every:\"?"},
      {"checkpiont: {}", "job.yaml:3:1: unknown key \"checkpiont\"; did you mean \"checkpoint:\"?"},
  });
}

TEST(JobFileTest, AMistakeDoesNotCauseOthers) {
  CheckAfterHead({
      {"redundancy: {replicas: many, quorum: 3}",
       "job.yaml:3:24: redundancy.replicas: expected a whole number, got \"many\""},
      {"resources: {vram: 1GiB, backend: [gpu]}",
       "job.yaml:3:35: resources.backend[0]: expected one of cpu, cuda, vulkan, opencl, metal, got "
       "\"gpu\"; did you mean cpu?"},
      {"inputs: [a]\noutputs: [{shard}, {shard}]",
       "job.yaml:3:9: inputs: expected a pattern, as in \"frames/*.exr\", got a list\n"
       "job.yaml:4:11: outputs[0]: a placeholder needs quotes, as in \"{shard}\"\n"
       "job.yaml:4:20: outputs[1]: a placeholder needs quotes, as in \"{shard}\""},
  });
}

TEST(JobFileTest, KeysThatCollide) {
  CheckAfterHead({
      {"shards: 1\nretries: 1\nshards: 2\n",
       "job.yaml:5:1: shards: given a second time, first in line 3"},
      {"env: {A: 1, B: 2, A: 3}", "job.yaml:3:19: env.A: given a second time, first in line 3"},
      {"inputs: \"*.x\"\nshards: 4",
       "job.yaml:4:9: shards: a job has either \"shards:\" or \"inputs:\" (one shard a file), not "
       "both"},
      {"shards: 4\nretries: 1\ninputs: \"*.x\"",
       "job.yaml:5:9: shards: a job has either \"shards:\" or \"inputs:\" (one shard a file), not "
       "both"},
      {"limits: {output: 2GiB, disk: 1GiB}",
       "job.yaml:3:18: limits.output: 2 GiB of outputs do not fit into limits.disk (1 GiB), which "
       "holds them too"},
  });
}

TEST(JobFileTest, ALimitThatIsLeftOutFollowsTheOther) {
  const auto limits = [](const std::string& text) {
    const auto file = ParseJobFile("name: x\nrun: {command: [./t]}\nlimits: " + text, "job.yaml");
    EXPECT_TRUE(file.ok()) << file.status();
    return file->fields.limits;
  };
  EXPECT_EQ(limits("{output: 5GiB}").disk_bytes, 5ull << 30);
  EXPECT_EQ(limits("{output: 5MiB}").disk_bytes, 256ull << 20);
  EXPECT_EQ(limits("{disk: 5MiB}").output_bytes, 5ull << 20);
  EXPECT_EQ(limits("{disk: 5GiB}").output_bytes, 64ull << 20);
}

TEST(JobFileTest, WhoAsksForCopiesHasThemCompared) {
  const auto redundancy = [](const std::string& text) {
    const auto file =
        ParseJobFile("name: x\nrun: {command: [./t]}\nredundancy: " + text, "job.yaml");
    EXPECT_TRUE(file.ok()) << file.status();
    return std::pair(file->fields.redundancy.replicas, file->fields.redundancy.quorum);
  };
  EXPECT_EQ(redundancy("{replicas: 3}"), std::pair(3u, 2u));
  EXPECT_EQ(redundancy("{replicas: 1}"), std::pair(1u, 1u));
  EXPECT_EQ(redundancy("{quorum: 2}"), std::pair(2u, 2u));
  EXPECT_EQ(redundancy("{replicas: 3, quorum: 1}"), std::pair(3u, 1u));
}

TEST(JobFileTest, ColumnsCountCharacters) {
  EXPECT_EQ(MistakesAfterHead("env: {Ä: \"ü語\", A: [1]}"),
            "job.yaml:3:10: env.Ä: the name of a variable has letters, digits and _, and begins "
            "with no digit, got \"Ä\"\n"
            "job.yaml:3:19: env.A: expected a text, got a list");
}

TEST(JobFileTest, Bundles) {
  const TestFolder folder;
  std::filesystem::create_directory(folder / "scene");
  WriteText(folder / "file", "x", 0644);
  const auto message = [&](const std::string& bundle) {
    const auto file =
        ParseJobFile("name: x\nrun: {command: [./t]}\nbundle: " + bundle, folder / "job.yaml");
    return std::string(file.status().message());
  };
  const std::string at = folder / "job.yaml:3:9: bundle: ";
  EXPECT_EQ(message("scene/../scene"), "");
  EXPECT_EQ(message(folder / "scene"), "");
  EXPECT_EQ(message("./scen"), fmt::format("{}there is no folder \"{}\"; did you mean \"{}\"?", at,
                                           folder / "scen", folder / "scene"));
  EXPECT_EQ(message("missing/scene"),
            fmt::format("{}there is no folder \"{}\"", at, folder / "missing/scene"));
  EXPECT_EQ(message("file"),
            fmt::format("{}expected a folder, but \"{}\" is none", at, folder / "file"));
  EXPECT_EQ(message("\"\""), at + "expected a folder, as in ./scene, got \"\"");
  EXPECT_EQ(message("~/scene"),
            at + "~ is not expanded here, got \"~/scene\"; write the whole path or one relative to "
                 "the job file");
  EXPECT_EQ(message("[a]"), at + "expected a folder, as in ./scene, got a list");
}

TEST(JobFileTest, PatternsAreRelativeToTheFileWhateverItsFolderIsCalled) {
  const TestFolder folder;
  std::filesystem::create_directory(folder / "a[1]*");
  WriteText(folder / "a[1]*/1.exr", "x", 0644);
  const auto file = ParseJobFile("name: x\nrun: {command: [./t, \"{input}\"]}\ninputs: \"*.exr\"",
                                 folder / "a[1]*/job.yaml");
  ASSERT_TRUE(file.ok()) << file.status();
  EXPECT_TRUE(file->fields.inputs.empty());
  const auto inputs = ExpandInputs(file->inputs_pattern);
  ASSERT_TRUE(inputs.ok()) << inputs.status();
  EXPECT_EQ(inputs->at(0).path, folder / "a[1]*/1.exr");
  EXPECT_EQ(ParseJobFile("name: x\nrun: {command: [./t]}\ninputs: /data/*.exr", folder / "job.yaml")
                ->inputs_pattern,
            "/data/*.exr");
}

TEST(JobFileTest, EachMistakeIsOneLine) {
  EXPECT_EQ(
      MistakesAfterHead("env: {\"A\\nB\": x}\nresources: {backend: \"a\\e\\nb\"}"),
      "job.yaml:3:15: env.A\\nB: the name of a variable has letters, digits and _, and begins "
      "with no digit, got \"A\\nB\"\n"
      "job.yaml:4:22: resources.backend: expected a list of the backends that will do, as in "
      "[\"a\\x1b\\nb\"], got \"a\\x1b\\nb\"");
}

TEST(JobFileTest, ManyMistakesAreCutShort) {
  std::string text = "name: x\nrun: {command: [./t]}\n";
  for (int i = 0; i < 70; ++i) text += fmt::format("zebra{}: 1\n", i);
  const std::string message = MistakesIn(text);
  EXPECT_EQ(std::count(message.begin(), message.end(), '\n'), 50);
  EXPECT_THAT(message, ::testing::EndsWith("\njob.yaml: and 20 more"));
}

}  // namespace
}  // namespace corpgrid::job
