#include "models/stored_model.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>

namespace corpgrid::models {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

StoredModel SomeModel() {
  StoredModel model;
  model.name = "llama-3.2_1b";
  model.source = "hf://org/repo/\xffnot utf-8";
  model.added_wall_ms = 1'700'000'000'123;
  model.files = {
      {.name = "a-00001-of-00002.gguf", .bytes = 1ull << 40, .sha256 = std::string(64, 'a')},
      {.name = "a-00002-of-00002.gguf", .bytes = 7, .sha256 = std::string(64, '0')}};
  model.facts.architecture = "llama";
  model.facts.parameters = 70'000'000'000;
  model.facts.chat_template = "{{ \"a\nb\" }}";
  model.facts.kv_heads = 8;
  model.facts.reuses_prefixes = true;
  model.verdict = {
      .loads = true, .generates = false, .tried = true, .problem = "why", .library = "1"};
  return model;
}

TEST(StoredModelTest, ManifestsComeBackAsTheyWere) {
  const StoredModel model = SomeModel();
  const auto parsed = ParseManifest(FormatManifest(model));
  ASSERT_TRUE(parsed.ok()) << parsed.status();
  EXPECT_EQ(parsed->name, model.name);
  EXPECT_EQ(parsed->added_wall_ms, model.added_wall_ms);
  EXPECT_EQ(parsed->bytes(), (1ull << 40) + 7);
  EXPECT_EQ(parsed->files[1].name, model.files[1].name);
  EXPECT_EQ(parsed->facts.parameters, model.facts.parameters);
  EXPECT_EQ(parsed->facts.chat_template, model.facts.chat_template);
  EXPECT_EQ(parsed->facts.kv_heads, 8u);
  EXPECT_TRUE(parsed->facts.reuses_prefixes);
  EXPECT_EQ(parsed->verdict.problem, "why");
  EXPECT_FALSE(parsed->verdict.usable());
  EXPECT_EQ(FormatManifest(*parsed), FormatManifest(model));
}

TEST(StoredModelTest, DamagedManifestsAreErrors) {
  const std::string good = FormatManifest(SomeModel());
  for (const std::string& bad :
       {std::string(), std::string("[]"), std::string("{}"), good.substr(0, good.size() / 2)}) {
    EXPECT_EQ(ParseManifest(bad).status().code(), absl::StatusCode::kDataLoss) << bad;
  }
  const std::pair<std::string, std::string> changes[] = {
      {"\"format\": 1", "\"format\": 2"},           {"a-00001-of", "../a-00001-of"},
      {std::string(64, 'a'), std::string(64, 'A')}, {"\"kv_heads\": 8", "\"kv_heads\": -8"},
      {"\"layers\": 0", "\"layers\": 4294967296"},  {"\"loads\": true", "\"loads\": 1"},
      {"\"bytes\": 7", "\"bytes\": \"7\""}};
  for (const auto& [from, to] : changes) {
    std::string bad = good;
    ASSERT_NE(bad.find(from), std::string::npos) << from;
    bad.replace(bad.find(from), from.size(), to);
    EXPECT_FALSE(ParseManifest(bad).ok()) << to;
  }
}

TEST(StoredModelTest, NoBytesAreTooOddForTheParser) {
  const std::string good = FormatManifest(SomeModel());
  std::minstd_rand random(7);
  for (int turn = 0; turn < 3000; ++turn) {
    std::string bad = good;
    for (int n = 0; n < 3; ++n) bad[random() % bad.size()] = static_cast<char>(random());
    (void)ParseManifest(bad);
  }
}

TEST(StoredModelTest, Names) {
  for (const char* good : {"a", "Llama-3.2_1B", "0"})
    EXPECT_TRUE(CheckModelName(good).ok()) << good;
  for (const char* bad : {"", ".", "..", "-a", ".staging", "a/b", "a b", "\xc3\xa4"}) {
    EXPECT_EQ(CheckModelName(bad).code(), absl::StatusCode::kInvalidArgument) << bad;
  }
  EXPECT_FALSE(CheckModelName(std::string(97, 'a')).ok());
  EXPECT_EQ(NameFromFile("/x/Llama 3-8B-Q4_K_M-00001-of-00002.gguf"), "Llama-3-8B-Q4_K_M");
  EXPECT_EQ(NameFromFile("/x/.gguf"), "model");
  EXPECT_EQ(NameFromFile("..a.gguf"), "a");
  EXPECT_TRUE(CheckModelName(NameFromFile(std::string(500, 'x'))).ok());
  EXPECT_EQ(SafeFileName("../../etc/pass wd"), "pass_wd");
  EXPECT_EQ(SafeFileName(".."), "_..");
  EXPECT_EQ(SafeFileName("a/"), "_");
}

TEST(StoredModelTest, PartsOfSplitModels) {
  EXPECT_THAT(
      *PartsOf("a-00002-of-00003.gguf"),
      ElementsAre("a-00001-of-00003.gguf", "a-00002-of-00003.gguf", "a-00003-of-00003.gguf"));
  for (const char* alone : {"a.gguf", "-00001-of-00002.gguf", "a-0001-of-0002.gguf",
                            "a-00001-of-00002", "a-00001-of-0000x.gguf", "a-00001_of-00002.gguf"}) {
    EXPECT_THAT(*PartsOf(alone), ElementsAre(alone));
  }
  EXPECT_THAT(std::string(PartsOf("a-00004-of-00003.gguf").status().message()),
              HasSubstr("part 4 of 3"));
  EXPECT_FALSE(PartsOf("a-00000-of-00003.gguf").ok());
  EXPECT_FALSE(PartsOf("a-00001-of-99999.gguf").ok());
}

}  // namespace
}  // namespace corpgrid::models
