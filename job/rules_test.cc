#include <cmath>
#include <functional>
#include <string>

#include "fmt/format.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "job/spec.h"

namespace corpgrid::job {
namespace {

struct Case {
  std::function<void(JobFields&)> change;
  std::string expected;  // "path: message" of each problem, a line each
};

JobFields Sound() {
  JobFields fields;
  fields.name = "render";
  fields.command = {"./trace"};
  return fields;
}

// Has its outputs compared as numbers.
void Compare(JobFields& fields) {
  fields.outputs = {"out.txt"};
  fields.redundancy = {.replicas = 2, .quorum = 2, .validator = Validator::kNumeric};
}

std::string ProblemsOf(const JobFields& fields) {
  std::string text;
  for (const Problem& problem : Problems(fields)) {
    text += fmt::format("{}{}: {}", text.empty() ? "" : "\n", problem.path, problem.message);
  }
  return text;
}

void Check(const std::vector<Case>& cases) {
  EXPECT_EQ(ProblemsOf(Sound()), "");
  for (const Case& one : cases) {
    JobFields fields = Sound();
    one.change(fields);
    EXPECT_EQ(ProblemsOf(fields), one.expected);
  }
}

TEST(RulesTest, Names) {
  Check({
      {[](auto& f) { f.name = "Bild 7: Größe/höhe"; }, ""},
      {[](auto& f) { f.name = std::string(128, 'x'); }, ""},
      {[](auto& f) { f.name = std::string(129, 'x'); },
       "name: expected at most 128 bytes, got 129"},
      {[](auto& f) { f.name = "two\nlines"; },
       "name: a name is one line of printable text, got \"two\\nlines\""},
      {[](auto& f) { f.name = "@system"; },
       "name: names that begin with '@' are reserved, got \"@system\""},
      {[](auto& f) { f.name = "\xff"; }, "name: \"\\xff\" is not valid UTF-8"},
      {[](auto& f) { f.name = "\xc0\xaf"; }, "name: \"\\xc0\\xaf\" is not valid UTF-8"},
      {[](auto& f) { f.name = "\xed\xa0\x80"; }, "name: \"\\xed\\xa0\\x80\" is not valid UTF-8"},
  });
}

TEST(RulesTest, Commands) {
  Check({
      {[](auto& f) { f.command = {"sh", "-c", "a\nb", ""}; }, ""},
      {[](auto& f) { f.command = {""}; },
       "run.command: expected a program and its arguments: [\"./program\", \"arg\"]"},
      {[](auto& f) { f.command.push_back(std::string("a\0b", 3)); },
       "run.command[1]: a text may hold no NUL character"},
      {[](auto& f) { f.command.push_back(std::string((32 << 10) + 1, 'x')); },
       "run.command[1]: expected at most 32768 bytes, got 32769"},
      {[](auto& f) { f.command.resize(4097, "x"); },
       "run.command: expected at most 4096 arguments, got 4097"},
      {[](auto& f) { f.command.resize(6, std::string(32 << 10, 'x')); },
       "run.command: the command has 163847 bytes, at most 49152 are allowed: put long texts into "
       "files of the bundle"},
  });
}

TEST(RulesTest, Placeholders) {
  Check({
      {[](auto& f) { f.command = {"{shard}/{shards}{{x}}"}; }, ""},
      {[](auto& f) { f.command = {"{tile}"}; },
       "run.command[0]: unknown placeholder {tile}, expected {shard}, {shards} or {input}; for the "
       "braces themselves write \"{{tile}}\""},
      {[](auto& f) { f.command = {"{shrad} {shrad}"}; },
       "run.command[0]: unknown placeholder {shrad}; did you mean {shard}?"},
      {[](auto& f) { f.command = {"{shard"}; },
       "run.command[0]: a \"{\" without its \"}\"; for the brace itself write \"{{\""},
      {[](auto& f) { f.command = {"shard}"}; },
       "run.command[0]: a \"}\" without its \"{\"; for the brace itself write \"}}\""},
      {[](auto& f) { f.env = {{"A", "{input}"}}; },
       "env.A: {input} needs \"inputs:\", which this job does not have; with \"shards:\" use "
       "{shard}"},
      {[](auto& f) {
         f.inputs = {{"a", {}, 0}};
         f.env = {{"A", "{input}"}};
       },
       ""},
  });
}

TEST(RulesTest, Environments) {
  const std::string rule =
      "the name of a variable has letters, digits and _, and begins with no digit";
  Check({
      {[](auto& f) { f.env = {{"A_1", ""}, {"_", "x"}}; }, ""},
      {[](auto& f) { f.env = {{"1A", ""}}; }, "env.1A: " + rule + ", got \"1A\""},
      {[](auto& f) { f.env = {{"A=B", ""}}; }, "env.A=B: " + rule + ", got \"A=B\""},
      {[](auto& f) { f.env = {{"", ""}}; }, "env.: " + rule + ", got \"\""},
      {[](auto& f) { f.env = {{"CORPGRID_SHARD", "1"}}; },
       "env.CORPGRID_SHARD: variables that begin with CORPGRID_ are reserved, got "
       "\"CORPGRID_SHARD\""},
      {[](auto& f) {
         for (int i = 0; i < 257; ++i) f.env[fmt::format("A{}", i)] = "";
       },
       "env: expected at most 256 variables, got 257"},
  });
}

TEST(RulesTest, ShardsAndInputs) {
  Check({
      {[](auto& f) { f.shards = JobSpec::kMaxShards; }, ""},
      {[](auto& f) { f.shards = 0; }, "shards: expected a number from 1 to 10000000, got 0"},
      {[](auto& f) { f.shards = JobSpec::kMaxShards + 1; },
       "shards: expected a number from 1 to 10000000, got 10000001"},
      {[](auto& f) {
         f.inputs = {{"a", {}, 0}, {"b", {}, 0}};
         f.shards = 3;
       },
       "shards: a job with 2 input files has as many shards, got 3"},
      {[](auto& f) {
         f.inputs = {{"a", {}, 0}, {"a", {}, 0}};
         f.shards = 2;
       },
       "inputs[1]: two input files have the name \"a\""},
      {[](auto& f) { f.inputs = {{"a/b", {}, 0}}; },
       "inputs[0]: the name of an input is no path, got \"a/b\""},
      {[](auto& f) { f.inputs = {{"..", {}, 0}}; },
       "inputs[0]: the name of an input may not leave its folder (\"..\"), got \"..\""},
      {[](auto& f) { f.inputs = {{"", {}, 0}}; },
       "inputs[0]: the name of an input is written like \"file\" or \"folder/file\", got \"\""},
      {[](auto& f) { f.inputs = {{"@a", {}, 0}}; },
       "inputs[0]: names that begin with '@' are reserved, got \"@a\""},
      {[](auto& f) { f.inputs = {{"a\tb", {}, 0}}; },
       "inputs[0]: the name of an input may hold no control characters, got \"a\\x09b\""},
  });
}

TEST(RulesTest, Outputs) {
  Check({
      {[](auto& f) { f.outputs = {"tile.ppm", "d/e/tile-{shard}.ppm", "..a", "x/@b", "a b"}; }, ""},
      {[](auto& f) { f.outputs = {"/etc/passwd"}; },
       "outputs[0]: an output is a path relative to the work folder, got \"/etc/passwd\""},
      {[](auto& f) { f.outputs = {"a", "b/../../c"}; },
       "outputs[1]: an output may not leave its folder (\"..\"), got \"b/../../c\""},
      {[](auto& f) { f.outputs = {"./a"}; },
       "outputs[0]: an output is written like \"file\" or \"folder/file\", got \"./a\""},
      {[](auto& f) { f.outputs = {"a//b"}; },
       "outputs[0]: an output is written like \"file\" or \"folder/file\", got \"a//b\""},
      {[](auto& f) { f.outputs = {""}; },
       "outputs[0]: an output is written like \"file\" or \"folder/file\", got \"\""},
      {[](auto& f) { f.outputs = {"d/"}; },
       "outputs[0]: an output is one file, got the folder \"d/\"; pack it into one (tar)"},
      {[](auto& f) { f.outputs = {"@stdout"}; },
       "outputs[0]: names that begin with '@' are reserved, got \"@stdout\""},
      {[](auto& f) { f.outputs = {"a", "a"}; }, "outputs[1]: \"a\" is listed twice"},
      {[](auto& f) {
         f.inputs = {{"a", {}, 0}};
         f.outputs = {"{input}.txt"};
       },
       "outputs[0]: {input} is the path of the input file and cannot be part of an output's name; "
       "use {shard}"},
      {[](auto& f) { f.outputs = {std::string(256, 'x')}; },
       "outputs[0]: a file name has at most 255 bytes, got 256"},
      {[](auto& f) { f.outputs = {"a\nb"}; },
       "outputs[0]: an output may hold no control characters, got \"a\\nb\""},
      {[](auto& f) {
         for (int i = 0; i < 65; ++i) f.outputs.push_back(std::to_string(i));
       },
       "outputs: expected at most 64 outputs, got 65: pack many files into one (tar)"},
  });
}

TEST(RulesTest, Resources) {
  Check({
      {[](auto& f) { f.resources = {1024, 16ull << 40, 0, {Backend::kCpu}}; }, ""},
      {[](auto& f) { f.resources = {1, 1 << 20, 1 << 30, {Backend::kCpu, Backend::kCuda}}; }, ""},
      {[](auto& f) { f.resources.cpus = 0; },
       "resources.cpus: expected a number from 1 to 1024, got 0"},
      {[](auto& f) { f.resources.memory_bytes = 512; },
       "resources.memory: expected at least 1 MiB, got 512 B; did you mean 512MiB?"},
      {[](auto& f) { f.resources.memory_bytes = 17ull << 40; },
       "resources.memory: expected at most 16 TiB, got 17 TiB"},
      {[](auto& f) { f.resources.vram_bytes = 8ull << 30; },
       "resources.vram: 8 GiB of video memory need a GPU: add the backends that will do, as in "
       "backend: [cuda, vulkan]"},
      {[](auto& f) { f.resources.backends = {}; },
       "resources.backend: expected at least one of cpu, cuda, vulkan, opencl, metal"},
      {[](auto& f) { f.resources.backends = {Backend::kCuda, Backend::kCuda}; },
       "resources.backend: a backend is listed twice"},
  });
}

TEST(RulesTest, Checkpoints) {
  const auto at = [](const std::string& folder, int64_t every_ms = 1000) {
    return [=](JobFields& f) { f.checkpoint = Checkpoint{.folder = folder, .every_ms = every_ms}; };
  };
  Check({
      {at("state"), ""},
      {at("..."), ""},
      {at(".."),
       "checkpoint.folder: the folder of checkpoints may not leave its folder (\"..\"), got "
       "\"..\""},
      {at(""),
       "checkpoint.folder: the folder of checkpoints is written like \"file\" or "
       "\"folder/file\", got \"\""},
      {at("/state"),
       "checkpoint.folder: expected the name of a folder in the work folder, no path, got "
       "\"/state\""},
      {at("s{shard}"),
       "checkpoint.folder: a name without placeholders will do, each shard has a work folder of "
       "its own; got \"s{shard}\""},
      {at("@state"), "checkpoint.folder: names that begin with '@' are reserved, got \"@state\""},
      {[&](auto& f) {
         f.outputs = {"state"};
         at("state")(f);
       },
       "checkpoint.folder: \"state\" is an output, which is a file; choose another name"},
      {at("state", 999), "checkpoint.every: expected a time from 1s to 30d, got 999 ms"},
      {at("state", -1), "checkpoint.every: expected a time from 1s to 30d, got a negative one"},
  });
}

TEST(RulesTest, RedundancyAndLimits) {
  Check({
      {[](auto& f) { f.redundancy.replicas = f.redundancy.quorum = 16; }, ""},
      {[](auto& f) { f.redundancy.replicas = 17; },
       "redundancy.replicas: expected a number from 1 to 16, got 17"},
      {[](auto& f) { Compare(f); }, ""},
      {[](auto& f) {
         Compare(f);
         f.redundancy.quorum = 1;
         f.outputs.clear();
       },
       "redundancy.quorum: a quorum of 1 compares nothing: raise it, or leave the validator out\n"
       "redundancy.validator: there is nothing to compare: this job has no outputs"},
      {[](auto& f) {
         Compare(f);
         f.redundancy.tolerance = {NumberFormat::kJson, -0.0, 1.5};
       },
       "redundancy.validator.absolute: expected a number from 0 to 1e+300, got -0\n"
       "redundancy.validator.relative: expected a number from 0 to 1, got 1.5\n"
       "limits.output: outputs of this validator have at most 16 MiB, got 64 MiB"},
      {[](auto& f) {
         Compare(f);
         f.redundancy.tolerance.relative = std::nan("");
       },
       "redundancy.validator.relative: expected a number from 0 to 1, got nan"},
      {[](auto& f) {
         Compare(f);
         f.redundancy.validator = Validator::kProgram;
       },
       "redundancy.validator.command: expected a program and its arguments: [\"./program\", "
       "\"arg\"]"},
      {[](auto& f) { f.redundancy.quorum = 0; },
       "redundancy.quorum: expected at least 1 equal result, got 0"},
      {[](auto& f) { f.redundancy.quorum = 2; },
       "redundancy.quorum: 2 equal results can never come from 1 replica: raise replicas or lower "
       "quorum"},
      {[](auto& f) { f.limits = {100, 0, 1 << 20, 1, true}; }, ""},
      {[](auto& f) { f.limits.wall_ms = 99; },
       "limits.wall: expected a time from 100ms to 30d, got 99 ms"},
      {[](auto& f) { f.limits.wall_ms = -1; },
       "limits.wall: expected a time from 100ms to 30d, got a negative one"},
      {[](auto& f) { f.limits.wall_ms = 31ll * 86'400'000; },
       "limits.wall: expected a time from 100ms to 30d, got 744 h 0 min"},
      {[](auto& f) { f.limits.disk_bytes = 0; }, "limits.disk: expected at least 1 MiB, got 0 B"},
      {[](auto& f) { f.limits.output_bytes = 17ull << 40; },
       "limits.output: expected at most 16 TiB, got 17 TiB"},
      {[](auto& f) { f.limits.processes = 0; },
       "limits.processes: expected a number from 1 to 32768, got 0"},
      {[](auto& f) { f.retries = 101; }, "retries: expected a number from 0 to 100, got 101"},
  });
}

}  // namespace
}  // namespace corpgrid::job
