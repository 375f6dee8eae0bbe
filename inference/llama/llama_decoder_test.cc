#include "inference/llama/llama_decoder.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <llama.h>

#include <cmath>
#include <random>

#include "base/testing/temp_folder.h"
#include "inference/engine.h"
#include "inference/llama/test_model.h"
#include "inference/test_decoder.h"

namespace corpgrid::inference {
namespace {

using Layout = KvShape::Layout;
using ::testing::HasSubstr;

std::vector<Token> Prompt(uint32_t seed, size_t length, std::vector<Token> before = {}) {
  std::mt19937 random(seed);
  while (length-- > 0) before.push_back(static_cast<Token>(3 + random() % 317));
  return before;
}

class LlamaDecoderTest : public ::testing::Test {
 protected:
  // One for all tests: it is never changed.
  static void SetUpTestSuite() {
    shared_folder = new testing::TempFolder;
    const std::string path = *shared_folder / "model.gguf";
    ASSERT_TRUE(MakeTestModel({}, path).ok());
    absl::StatusOr<std::unique_ptr<Model>> model = Model::Load(path);
    ASSERT_TRUE(model.ok()) << model.status();
    shared_model = std::move(model)->release();
  }
  static void TearDownTestSuite() {
    delete shared_model;
    delete shared_folder;
  }

  static std::unique_ptr<LlamaDecoder> Make(Layout layout, uint32_t slots, uint32_t context,
                                            uint32_t step_tokens = 512, bool full = true) {
    auto decoder = LlamaDecoder::Create(shared_model, {.slots = slots,
                                                       .context = context,
                                                       .step_tokens = step_tokens,
                                                       .threads = 2,
                                                       .layout = layout,
                                                       .full_precision = full});
    EXPECT_TRUE(decoder.ok()) << decoder.status();
    return *std::move(decoder);
  }

  // The logits after `tokens`, by the library alone: one context, one sequence, one call.
  static std::vector<float> OneShot(std::vector<Token> tokens, bool full = true) {
    llama_context_params params = llama_context_default_params();
    params.n_ctx = params.n_batch = params.n_ubatch = 1024;
    params.n_threads = params.n_threads_batch = 1;
    if (full) {
      params.type_k = params.type_v = GGML_TYPE_F32;
      params.flash_attn_type = LLAMA_FLASH_ATTN_TYPE_DISABLED;
    }
    llama_context* context = llama_init_from_model(shared_model->get(), params);
    EXPECT_EQ(llama_decode(context,
                           llama_batch_get_one(tokens.data(), static_cast<int32_t>(tokens.size()))),
              0);
    const float* logits = llama_get_logits_ith(context, -1);
    std::vector<float> copy(logits, logits + shared_model->facts().vocabulary);
    llama_free(context);
    return copy;
  }

  static std::vector<Token> GreedyAlone(std::vector<Token> tokens, size_t count) {
    std::vector<Token> answer;
    while (answer.size() < count) {
      const std::vector<float> logits = OneShot(tokens);
      answer.push_back(
          static_cast<Token>(std::max_element(logits.begin(), logits.end()) - logits.begin()));
      tokens.push_back(answer.back());
    }
    return answer;
  }

  static float Difference(std::span<const float> a, std::span<const float> b) {
    float most = 0;
    for (size_t i = 0; i < a.size(); ++i) most = std::max(most, std::abs(a[i] - b[i]));
    return most;
  }

  static std::vector<Row> Rows(const std::vector<Token>& tokens, uint32_t from, uint32_t slot) {
    std::vector<Row> rows;
    for (uint32_t i = from; i < tokens.size(); ++i) {
      rows.push_back({tokens[i], i, slot, i + 1 == tokens.size()});
    }
    return rows;
  }

  static inline testing::TempFolder* shared_folder = nullptr;
  static inline Model* shared_model = nullptr;
};

// What other orders of the same additions make of logits that spread over about 20, with 32-bit
// keys and values and with 16-bit ones.
constexpr float kRounding = 1e-4f, kRoundingOf16Bits = 0.05f;

TEST_F(LlamaDecoderTest, AMixedBatchHasTheLogitsOfTheLibraryAlone) {
  for (const bool full : {true, false}) {
    float worst = 0, spread = 0;
    for (const Layout layout : {Layout::kStreams, Layout::kShared}) {
      const auto decoder = Make(layout, 5, 256, 512, full);
      // Slots 0 and 2 have begun before, 2 and 4 stay out of the next step, lengths differ.
      std::vector<std::vector<Token>> tokens;
      for (uint32_t i = 0; i < 5; ++i) tokens.push_back(Prompt(i + 1, 3 + 17 * i));
      std::vector<Row> rows = Rows(tokens[0], 0, 0);
      for (const Row& row : Rows(tokens[2], 0, 2)) rows.push_back(row);
      ASSERT_TRUE(decoder->Decode(rows).ok());
      tokens[0].push_back(100);
      rows = Rows(tokens[0], 3, 0);
      for (const uint32_t slot : {1u, 3u}) {
        for (const Row& row : Rows(tokens[slot], 0, slot)) rows.push_back(row);
      }
      ASSERT_TRUE(decoder->Decode(rows).ok());
      for (size_t i = 0; i < rows.size(); ++i) {
        if (!rows[i].wants_logits) continue;
        const std::span<const float> logits = decoder->Logits(i);
        worst = std::max(worst, Difference(logits, OneShot(tokens[rows[i].slot], full)));
        const auto [least, most] = std::minmax_element(logits.begin(), logits.end());
        spread = std::max(spread, *most - *least);
      }
    }
    std::printf("largest difference of a logit: %g (%s), of a spread of %g\n", worst,
                full ? "f32" : "f16", spread);
    EXPECT_LT(worst, full ? kRounding : kRoundingOf16Bits);
  }
}

TEST_F(LlamaDecoderTest, ACopiedPrefixIsTheOneThatWasComputed) {
  for (const Layout layout : {Layout::kStreams, Layout::kShared}) {
    const auto decoder = Make(layout, 3, 256);
    const auto whole = Prompt(1, 60), branch = Prompt(2, 8, {whole.begin(), whole.begin() + 40});
    ASSERT_TRUE(decoder->Decode(Rows(whole, 0, 0)).ok());
    decoder->CopyPrefix(0, 2, 40);
    decoder->CopyPrefix(2, 1, 40);
    decoder->Truncate(0, 30);  // the copies have their own
    std::vector<Row> rows = Rows(whole, 30, 0);
    for (const uint32_t slot : {1u, 2u}) {
      for (const Row& row : Rows(branch, 40, slot)) rows.push_back(row);
    }
    ASSERT_TRUE(decoder->Decode(rows).ok());
    EXPECT_LT(Difference(decoder->Logits(29), OneShot(whole)), kRounding);
    EXPECT_LT(Difference(decoder->Logits(37), OneShot(branch)), kRounding);
    EXPECT_LT(Difference(decoder->Logits(45), OneShot(branch)), kRounding);
  }
}

TEST_F(LlamaDecoderTest, AFullMemoryIsAnErrorThatCanBeRecoveredFrom) {
  const auto decoder = Make(Layout::kShared, 2, 256);
  const auto tokens = Prompt(1, 200), more = Prompt(2, 100);
  ASSERT_TRUE(decoder->Decode(Rows(tokens, 0, 0)).ok());
  EXPECT_TRUE(absl::IsResourceExhausted(decoder->Decode(Rows(more, 0, 1))));
  decoder->Truncate(1, 0);
  decoder->Truncate(0, 0);
  ASSERT_TRUE(decoder->Decode(Rows(more, 0, 1)).ok());
  EXPECT_LT(Difference(decoder->Logits(99), OneShot(more)), kRounding);
}

// Twelve requests, six at a time, some of one beginning, in both kinds of memory, the second so
// small that some have to give way: each greedy text is that of the library alone.
TEST_F(LlamaDecoderTest, EveryAnswerOfTheEngineIsTheLibrarysOwn) {
  constexpr uint32_t kTokens = 24;
  const auto system = Prompt(50, 70);
  std::vector<std::vector<Token>> prompts, expected;
  for (uint32_t i = 0; i < 12; ++i) {
    prompts.push_back(i % 2 == 0 ? Prompt(i, 10 + i, system) : Prompt(i, 30));
    expected.push_back(GreedyAlone(prompts.back(), kTokens));
  }
  for (const Layout layout : {Layout::kStreams, Layout::kShared}) {
    const auto decoder = Make(layout, 6, 256, 64);
    Engine engine(decoder.get(), shared_model, &SystemClock(),
                  {.tokens = 64, .prompt_tokens_beside_answers = 24}, 2);
    std::vector<std::shared_ptr<TestListener>> heard;
    for (uint32_t i = 0; i < 12; ++i) {
      Request request;
      request.prompt = prompts[i];
      request.sampling.temperature = 0;
      request.max_tokens = kTokens;
      request.ignore_end = true;
      heard.push_back(std::make_shared<TestListener>());
      ASSERT_TRUE(engine.Check(request).ok());
      ASSERT_TRUE(engine.Submit(i, *engine.Check(request), heard.back()).ok());
      engine.Step();
    }
    while (engine.Step()) {
    }
    for (uint32_t i = 0; i < 12; ++i) EXPECT_EQ(heard[i]->tokens[0], expected[i]) << i;
    EXPECT_GT(engine.stats().reused_tokens, 100u);
    EXPECT_EQ(engine.stats().preemptions > 0, layout == Layout::kShared);
  }
}

TEST_F(LlamaDecoderTest, SaysWhatIsWrongWithTheOptions) {
  const auto message = [](DecoderOptions options) {
    return std::string(LlamaDecoder::Create(shared_model, options).status().message());
  };
  EXPECT_THAT(message({.slots = 0}), HasSubstr("0 sequences are asked for"));
  EXPECT_THAT(message({.slots = 100'000}), HasSubstr("100000 sequences are asked for"));
  EXPECT_THAT(message({.context = 1}), HasSubstr("a context of 1 tokens"));
  EXPECT_THAT(message({.slots = 16, .step_tokens = 4}), HasSubstr("a step of 4 tokens"));
}

}  // namespace
}  // namespace corpgrid::inference
