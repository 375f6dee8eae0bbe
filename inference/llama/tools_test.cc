// What is done with model files beside hosting them.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "base/testing/temp_folder.h"
#include "inference/llama/inspect.h"
#include "inference/llama/measure.h"
#include "inference/llama/quantize.h"
#include "inference/llama/test_model.h"

namespace corpgrid::inference {
namespace {

using ::testing::Contains;
using ::testing::HasSubstr;

class ToolsTest : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    folder = new testing::TempFolder;
    const TestModel shape = {.embedding = 256, .feed_forward = 256};
    ASSERT_TRUE(MakeTestModel(shape, Path("f32")).ok());
  }
  static void TearDownTestSuite() { delete folder; }

  static std::string Path(const std::string& name) { return *folder / (name + ".gguf"); }

  static testing::TempFolder* folder;
};

testing::TempFolder* ToolsTest::folder = nullptr;

TEST_F(ToolsTest, AModelIsInspectedAndTried) {
  const auto seen = Inspect(Path("f32"), /*try_it=*/true);
  ASSERT_TRUE(seen.ok()) << seen.status();
  EXPECT_TRUE(seen->compatibility.usable() && seen->compatibility.tried);
  EXPECT_EQ(seen->compatibility.problem, "");
  EXPECT_EQ(seen->facts.embedding, 256u);
  EXPECT_FALSE(Inspect(Path("f32"), false)->compatibility.tried);
  EXPECT_EQ(Inspect(Path("none"), false).status().code(), absl::StatusCode::kNotFound);
}

TEST_F(ToolsTest, AFileThatIsCutLoadsNoMore) {
  std::filesystem::copy(Path("f32"), Path("cut"));
  std::filesystem::resize_file(Path("cut"), std::filesystem::file_size(Path("f32")) - 1000);
  const auto seen = Inspect(Path("cut"), /*try_it=*/true);
  ASSERT_TRUE(seen.ok()) << seen.status();
  EXPECT_FALSE(seen->compatibility.loads || seen->compatibility.tried);
  EXPECT_THAT(seen->compatibility.problem, HasSubstr("corrupted or incomplete"));
  EXPECT_EQ(seen->facts.layers, 2u);
  std::ofstream(Path("text")) << "no model";
  EXPECT_EQ(Inspect(Path("text"), false).status().code(), absl::StatusCode::kInvalidArgument);
}

TEST_F(ToolsTest, EveryTypeCanBeWrittenAndRead) {
  for (const std::string& type : QuantisationTypes()) {
    double last = 0;
    const absl::Status written =
        Quantise(Path("f32"), Path(type), type, [&](double fraction) { last = fraction; });
    ASSERT_TRUE(written.ok()) << written;
    EXPECT_EQ(last, 1) << type;
    const auto seen = Inspect(Path(type), /*try_it=*/true);
    ASSERT_TRUE(seen.ok()) << seen.status();
    EXPECT_TRUE(seen->compatibility.usable()) << type << ": " << seen->compatibility.problem;
  }
  EXPECT_THAT(QuantisationTypes(), Contains("Q4_K_M"));
  const absl::Status wrong = Quantise(Path("f32"), Path("x"), "Q4_KX", [](double) {});
  EXPECT_THAT(std::string(wrong.message()), HasSubstr("these are: F32 F16"));
  EXPECT_EQ(Quantise(Path("text"), Path("x"), "F16", [](double) {}).code(),
            absl::StatusCode::kInvalidArgument);
}

TEST_F(ToolsTest, FewerBitsKnowATextLessWell) {
  ASSERT_TRUE(Quantise(Path("f32"), Path("q8"), "Q8_0", [](double) {}).ok());
  ASSERT_TRUE(Quantise(Path("f32"), Path("q2"), "Q2_K", [](double) {}).ok());
  const auto whole = *Model::Load(Path("f32")), q8 = *Model::Load(Path("q8")),
             q2 = *Model::Load(Path("q2"));
  std::string text;
  for (int i = 0; i < 100; ++i) text += "word " + std::to_string(i * 7919) + " ";
  const QualityOptions options = {.chunk_tokens = 128, .max_tokens = 512};
  int chunks = 0;
  const auto same = MeasureQuality(*whole, whole.get(), text, options, [&](double) { ++chunks; });
  ASSERT_TRUE(same.ok()) << same.status();
  EXPECT_EQ(chunks, 4);
  EXPECT_EQ(same->tokens, 4 * 63u);
  EXPECT_LT(same->mean_divergence, 1e-6);
  EXPECT_EQ(same->same_top, 1);
  const auto alone = MeasureQuality(*whole, nullptr, text, options, [](double) {});
  EXPECT_EQ(alone->perplexity, same->perplexity);
  const auto eight = MeasureQuality(*q8, whole.get(), text, options, [](double) {});
  const auto two = MeasureQuality(*q2, whole.get(), text, options, [](double) {});
  EXPECT_GT(eight->mean_divergence, 1e-6);
  EXPECT_GT(two->mean_divergence, 2 * eight->mean_divergence);
  EXPECT_LT(two->same_top, eight->same_top);
  EXPECT_EQ(MeasureQuality(*whole, nullptr, "short", options, [](double) {}).status().code(),
            absl::StatusCode::kInvalidArgument);
  const auto speed = MeasureSpeed(*q8, 1);
  ASSERT_TRUE(speed.ok()) << speed.status();
  EXPECT_GT(speed->prompt_tokens_per_s, 0);
  EXPECT_GT(speed->answer_tokens_per_s, 0);
}

}  // namespace
}  // namespace corpgrid::inference
