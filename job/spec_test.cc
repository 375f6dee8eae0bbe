#include "job/spec.h"

#include <algorithm>
#include <functional>
#include <random>

#include "crypto/encoding.h"
#include "fmt/format.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace corpgrid::job {
namespace {

JobFields Small() {
  JobFields fields;
  fields.name = "render";
  fields.command = {"./trace", "--tile", "{shard}"};
  return fields;
}

// A valid job that differs for each state of `random`.
JobFields RandomJob(std::mt19937& random) {
  const auto below = [&](uint32_t n) { return static_cast<uint32_t>(random() % n); };
  const auto word = [&] {
    constexpr std::string_view kLetters[] = {"a", "Z", "7", "_", "é", "語", " ", "-", "{{", "}}"};
    std::string text = "w";
    for (uint32_t left = below(12); left > 0; --left) text += kLetters[below(10)];
    return text;
  };
  JobFields fields;
  fields.name = word();
  fields.command = {word()};
  for (uint32_t left = below(5); left > 0; --left) fields.command.push_back(word() + "{shard}\n");
  for (uint32_t left = below(5); left > 0; --left) {
    fields.env[fmt::format("V{}", below(100))] = word() + "{shards}";
  }
  fields.shards = 1 + below(JobSpec::kMaxShards);
  if (below(2) == 0) {
    fields.shards = 1 + below(20);
    for (uint32_t i = 0; i < fields.shards; ++i) {
      fields.inputs.push_back({fmt::format("{}{}", i, word()), crypto::Blake3(word()), random()});
    }
    fields.command.push_back("{input}");
  }
  for (uint32_t i = below(4); i > 0; --i)
    fields.outputs.push_back(fmt::format("d/{}{}", i, word()));
  fields.resources = {1 + below(64), (1ull + below(1000)) << 20, 0, {}};
  for (const Backend backend : {Backend::kMetal, Backend::kCuda, Backend::kVulkan}) {
    if (below(2) == 0) fields.resources.backends.push_back(backend);
  }
  fields.resources.vram_bytes = fields.resources.backends.empty() ? 0 : 1ull << 30;
  if (fields.resources.backends.empty()) fields.resources.backends = {Backend::kCpu};
  fields.redundancy.replicas = 1 + below(JobSpec::kMaxReplicas);
  fields.redundancy.quorum = 1 + below(fields.redundancy.replicas);
  fields.redundancy.distinct = below(2) == 0 ? Distinct::kOwner : Distinct::kDevice;
  fields.outputs.emplace_back("last");
  if (below(5) == 0 && fields.shards <= JobSpec::kMaxShardsWithMaxError) {
    fields.redundancy.replicas = fields.redundancy.quorum = 1;
    fields.redundancy.max_error = 1.0 / (2 + below(99));
  }
  if (const uint32_t validator = below(3); validator > 0 && fields.redundancy.quorum > 1) {
    fields.redundancy.validator = static_cast<Validator>(validator);
    if (fields.redundancy.validator == Validator::kNumeric) {
      fields.redundancy.tolerance = {static_cast<NumberFormat>(below(5)), 1.0 / (1 + below(99)),
                                     1.0 / (1 + below(9))};
    } else {
      fields.redundancy.compare = {"./" + word(), word()};
    }
  }
  fields.limits = {100 + below(1'000'000), below(1000), (1ull + below(9)) << 30, 1 + below(99),
                   below(2) == 0};
  fields.retries = below(100);
  if (below(3) == 0) fields.project = "team-7";
  if (below(3) == 0) fields.priority = static_cast<int32_t>(below(2001)) - 1000;
  if (below(3) == 0) fields.after = {1 + below(9), 10 + uint64_t{below(9)} * UINT32_MAX};
  if (below(3) == 0) fields.deadline_ms = 1 + below(1'000'000'000);
  if (below(2) == 0) {
    fields.checkpoint = {.folder = fmt::format("s-{}", below(9)), .every_ms = 1000 + below(99)};
  }
  return fields;
}

TEST(JobSpecTest, TheEncodingBringsBackTheSpec) {
  std::mt19937 random(20240607);
  for (int round = 0; round < 2000; ++round) {
    const auto spec = JobSpec::Make(RandomJob(random));
    ASSERT_TRUE(spec.ok()) << spec.status();
    const std::string bytes = spec->Encode();
    const auto decoded = JobSpec::Decode(bytes);
    ASSERT_TRUE(decoded.ok()) << decoded.status();
    ASSERT_EQ(*decoded, *spec);
    ASSERT_EQ(decoded->Encode(), bytes);
  }
}

TEST(JobSpecTest, TheEncodingNeverChanges) {
  // Stored jobs and their signatures depend on it: another encoding needs another version.
  JobFields fields = Small();
  fields.limits.disk_bytes = 1 << 30;  // not the default, which may change
  EXPECT_EQ(crypto::Blake3(JobSpec::Make(fields)->Encode()).Hex(),
            "995faefd8641e79b6875410064f9e23355746c7e617a2bc7a834936491370f13");
}

TEST(JobSpecTest, OnlyWhoAsksForCheckpointsNeedsTheNewerVersion) {
  JobFields fields = Small();
  fields.limits.disk_bytes = 1 << 30;
  const std::string older = JobSpec::Make(fields)->Encode();
  EXPECT_TRUE(crypto::Decoder(older, "corpgrid job spec", 1).ok());
  fields.checkpoint = {.folder = "state", .every_ms = 30'000};
  const std::string newer = JobSpec::Make(fields)->Encode();
  EXPECT_EQ(crypto::Blake3(newer).Hex(),
            "042ed8830b06fe8da309681faea0e08f922d5b967c7ee36d7f342fa11a8abb7f");
  EXPECT_EQ(JobSpec::Decode(newer)->operator*(), fields);
  // What a program says that knows version 1 alone.
  EXPECT_EQ(crypto::Decoder(newer, "corpgrid job spec", 1).Finish().message(),
            "malformed encoding: corpgrid job spec of version 2, this program reads version 1");
  const std::string future = crypto::Encoder("corpgrid job spec", 5).bytes();
  EXPECT_EQ(JobSpec::Decode(future).status().message(),
            "malformed encoding: corpgrid job spec of version 5, this program reads version 4");
  // A version 2 without what it is for would be a second encoding of one spec.
  std::string relabelled = older;
  relabelled[relabelled.find("corpgrid job spec") + 17 + 4] = 2;
  EXPECT_FALSE(JobSpec::Decode(relabelled).ok());
}

TEST(JobSpecTest, OnlyWhoComparesOutputsNeedsVersion3) {
  JobFields fields = Small();
  fields.limits.disk_bytes = 1 << 30;
  fields.outputs = {"out.csv"};
  fields.redundancy = {.replicas = 2, .quorum = 2, .tolerance = {NumberFormat::kCsv, 1, 0.5}};
  EXPECT_TRUE(crypto::Decoder(JobSpec::Make(fields)->Encode(), "corpgrid job spec", 1).ok());
  EXPECT_EQ((*JobSpec::Make(fields))->redundancy.tolerance, Tolerance{}) << "exact needs none";
  fields.redundancy.validator = Validator::kNumeric;
  const std::string bytes = JobSpec::Make(fields)->Encode();
  EXPECT_EQ(crypto::Blake3(bytes).Hex(),
            "df0832a792a4abc5f7ea9b866e82b79fd2e933578dc36e7595a2e0713ec87250");
  EXPECT_TRUE(crypto::Decoder(bytes, "corpgrid job spec", 3).ok());
  EXPECT_EQ(JobSpec::Decode(bytes)->operator*(), fields);
}

TEST(JobSpecTest, OnlyWhoNamesAProjectNeedsVersion4) {
  JobFields fields = Small();
  fields.limits.disk_bytes = 1 << 30;
  fields.project = std::string(kDefaultProject);
  EXPECT_TRUE(crypto::Decoder(JobSpec::Make(fields)->Encode(), "corpgrid job spec", 1).ok());
  fields.project = "Team_7.x-1";
  const std::string bytes = JobSpec::Make(fields)->Encode();
  EXPECT_TRUE(crypto::Decoder(bytes, "corpgrid job spec", 4).ok());
  EXPECT_EQ(JobSpec::Decode(bytes)->operator*(), fields);
  for (const std::string& name : {std::string(), std::string(" a"), std::string("-a"),
                                  std::string("a/b"), std::string("ä"), std::string(65, 'a')}) {
    fields.project = name;
    EXPECT_FALSE(JobSpec::Make(fields).ok()) << name;
  }
}

TEST(JobSpecTest, OnlyWhoIsPlacedNeedsVersion4) {
  JobFields fields = Small();
  fields.placement = {.labels = {"b", "a"}, .sites = {"Zürich", "Bern"}, .attested = true};
  const std::string bytes = JobSpec::Make(fields)->Encode();
  EXPECT_TRUE(crypto::Decoder(bytes, "corpgrid job spec", 4).ok());
  const Placement placement = (*JobSpec::Decode(bytes))->placement;
  EXPECT_EQ(placement,
            (Placement{.labels = {"a", "b"}, .sites = {"Bern", "Zürich"}, .attested = true}));
  std::swap(fields.placement.labels[0], fields.placement.labels[1]);
  EXPECT_EQ(JobSpec::Make(fields)->Encode(), bytes) << "their order says nothing";
  fields.placement.attested = false;
  EXPECT_NE(JobSpec::Make(fields)->Encode(), bytes);
  fields.placement.labels.assign(JobSpec::kMaxLabels + 1, "");
  EXPECT_FALSE(JobSpec::Make(fields).ok());
}

TEST(JobSpecTest, OnlyWhoAsksForABoundNeedsVersion4) {
  JobFields fields = Small();
  fields.limits.disk_bytes = 1 << 30;
  fields.redundancy.max_error = 1e-4;
  const std::string bytes = JobSpec::Make(fields)->Encode();
  EXPECT_TRUE(crypto::Decoder(bytes, "corpgrid job spec", 4).ok());
  EXPECT_EQ(JobSpec::Decode(bytes)->operator*(), fields);
  fields.redundancy.max_error = 2e-4;
  EXPECT_NE(JobSpec::Make(fields)->Encode(), bytes);
}

TEST(JobSpecTest, EveryFieldIsInTheEncoding) {
  JobFields base = Small();
  base.inputs = {{"a", crypto::Blake3("a"), 1}};
  base.env = {{"A", "1"}};
  base.outputs = {"out"};
  base.redundancy.replicas = 3;
  base.resources.backends = {Backend::kCuda, Backend::kCpu};
  const std::string bytes = JobSpec::Make(base)->Encode();
  const std::vector<std::function<void(JobFields&)>> changes = {
      [](JobFields& f) { f.name = "other"; },
      [](JobFields& f) { f.command[0] = "./other"; },
      [](JobFields& f) { f.command.push_back("x"); },
      [](JobFields& f) { f.env["A"] = "2"; },
      [](JobFields& f) { f.env["B"] = "1"; },
      [](JobFields& f) { f.inputs[0].name = "b"; },
      [](JobFields& f) { f.inputs[0].hash = crypto::Blake3("b"); },
      [](JobFields& f) { f.inputs[0].size_bytes = 2; },
      [](JobFields& f) {
        f.inputs.push_back({"b", {}, 0});
        f.shards = 2;
      },
      [](JobFields& f) { f.outputs[0] = "other"; },
      [](JobFields& f) { f.resources.cpus = 2; },
      [](JobFields& f) { f.resources.memory_bytes *= 2; },
      [](JobFields& f) { f.resources.vram_bytes = 1 << 20; },
      [](JobFields& f) { f.resources.backends = {Backend::kCuda}; },
      [](JobFields& f) { f.redundancy.replicas = 2; },
      [](JobFields& f) { f.redundancy.quorum = 2; },
      [](JobFields& f) { f.redundancy.distinct = Distinct::kDevice; },
      [](JobFields& f) { f.limits.wall_ms = 1000; },
      [](JobFields& f) { f.limits.output_bytes = 5; },
      [](JobFields& f) { f.limits.disk_bytes = 1 << 30 | 1; },
      [](JobFields& f) { f.limits.processes = 9; },
      [](JobFields& f) { f.limits.network = true; },
      [](JobFields& f) { f.retries = 4; },
      [](JobFields& f) { f.project = "other"; },
      [](JobFields& f) { f.checkpoint = Checkpoint{}; },
      [](JobFields& f) { f.checkpoint = {.folder = "other", .every_ms = 60'000}; },
      [](JobFields& f) { f.checkpoint = {.folder = "state", .every_ms = 60'001}; },
  };
  for (size_t i = 0; i < changes.size(); ++i) {
    JobFields changed = base;
    changes[i](changed);
    const auto spec = JobSpec::Make(changed);
    ASSERT_TRUE(spec.ok()) << i << ": " << spec.status();
    EXPECT_NE(spec->Encode(), bytes) << i;
  }
  JobFields reordered = base;
  std::reverse(reordered.resources.backends.begin(), reordered.resources.backends.end());
  EXPECT_EQ(JobSpec::Make(reordered)->Encode(), bytes);
}

TEST(JobSpecTest, DamagedBytesGiveNoSpecOrAnother) {
  const std::string bytes = JobSpec::Make(Small())->Encode();
  for (size_t size = 0; size < bytes.size(); ++size) {
    EXPECT_TRUE(absl::IsInvalidArgument(JobSpec::Decode(bytes.substr(0, size)).status())) << size;
  }
  EXPECT_FALSE(JobSpec::Decode(bytes + '\0').ok());
  for (size_t i = 0; i < bytes.size(); ++i) {
    for (const int bit : {1, 128}) {
      std::string damaged = bytes;
      damaged[i] = static_cast<char>(damaged[i] ^ bit);
      const auto spec = JobSpec::Decode(damaged);
      EXPECT_TRUE(!spec.ok() || spec->Encode() == damaged) << i;
    }
  }
}

TEST(JobSpecTest, ALyingCountAllocatesNothing) {
  crypto::Encoder encoder("corpgrid job spec", 1);
  encoder.Add("name").Add(uint64_t{1} << 40);
  EXPECT_EQ(JobSpec::Decode(encoder.bytes()).status().message(),
            "malformed encoding: a count of 1099511627776, at most 10000 are allowed");
}

TEST(JobSpecTest, OneSpecHasOneEncoding) {
  JobFields fields = Small();
  fields.env = {{"AA", "1"}, {"BB", "2"}};
  std::string bytes = JobSpec::Make(fields)->Encode();
  // The same variables in the other order.
  std::swap_ranges(bytes.begin() + static_cast<ptrdiff_t>(bytes.find("AA")),
                   bytes.begin() + static_cast<ptrdiff_t>(bytes.find("AA")) + 7,
                   bytes.begin() + static_cast<ptrdiff_t>(bytes.find("BB")));
  EXPECT_EQ(JobSpec::Decode(bytes).status().message(),
            "malformed encoding: not the canonical one of this spec");
}

TEST(JobSpecTest, DecodeAppliesTheRules) {
  // "render" without its first letter's length: a name that a terminal would obey.
  std::string bytes = JobSpec::Make(Small())->Encode();
  bytes[bytes.find("render")] = '\x1b';
  EXPECT_EQ(JobSpec::Decode(bytes).status().message(),
            "name: a name is one line of printable text, got \"\\x1bender\"");
}

TEST(JobSpecTest, MakeNamesEveryBrokenRule) {
  JobFields fields;
  fields.retries = 1000;
  EXPECT_EQ(JobSpec::Make(fields).status().message(),
            "name: a job needs a name\n"
            "run.command: expected a program and its arguments: [\"./program\", \"arg\"]\n"
            "retries: expected a number from 0 to 100, got 1000");
}

TEST(ExpandTest, PutsValuesInPlaceOfPlaceholders) {
  JobFields fields = Small();
  fields.shards = 64;
  EXPECT_EQ(Expand("tile-{shard}-of-{shards}.ppm", fields, 7), "tile-7-of-64.ppm");
  EXPECT_EQ(Expand("no placeholder", fields, 7), "no placeholder");
  EXPECT_EQ(Expand("{{shard}} {{{shard}}} }}{{", fields, 7), "{shard} {7} }{");
  EXPECT_EQ(Expand("", fields, 7), "");
  fields.shards = 2;
  fields.inputs = {{"a.exr", {}, 1}, {"{shard}.exr", {}, 1}};
  EXPECT_EQ(Expand("--in={input}", fields, 0), "--in=/input/a.exr");
  EXPECT_EQ(Expand("{input}", fields, 1), "/input/{shard}.exr") << "a value was expanded again";
}

TEST(ToTextTest, NamesEveryChoice) {
  EXPECT_EQ(ToText(Backend::kCpu), "cpu");
  EXPECT_EQ(ToText(Backend::kMetal), "metal");
  EXPECT_EQ(ToText(Validator::kExact), "exact");
  EXPECT_EQ(ToText(Distinct::kDevice), "device");
}

}  // namespace
}  // namespace corpgrid::job
