#include "inference/llama/model.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>
#include <iterator>

#include "base/testing/temp_folder.h"
#include "inference/engine.h"
#include "inference/llama/estimate.h"
#include "inference/llama/test_model.h"
#include "inference/test_decoder.h"
#include "nlohmann/json.hpp"

namespace corpgrid::inference {
namespace {

using ::testing::HasSubstr;

const TestModel kShape = {.layers = 3, .embedding = 256, .type = "Q8_0"};

class ModelTest : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    shared_folder = new testing::TempFolder;
    const absl::Status made = MakeTestModel(kShape, Path());
    ASSERT_TRUE(made.ok()) << made;
  }
  static void TearDownTestSuite() { delete shared_folder; }
  static std::string Path() { return *shared_folder / "model.gguf"; }

  static inline testing::TempFolder* shared_folder = nullptr;
};

// What 24 requests with seeds of their own are answered.
std::vector<std::shared_ptr<TestListener>> Answers(
    const std::string& path, std::string_view grammar,
    const std::vector<std::pair<Token, float>>& logit_bias) {
  const auto model = *Model::Load(path);
  const auto decoder =
      *LlamaDecoder::Create(model.get(), {.slots = 8, .context = 512, .threads = 1});
  Engine engine(decoder.get(), model.get(), &SystemClock(), {}, 1);
  std::vector<std::shared_ptr<TestListener>> all;
  for (uint32_t seed = 0; seed < 24; ++seed) {
    Request request;
    request.prompt = {1, static_cast<Token>(10 + seed)};
    request.sampling.seed = seed;
    request.sampling.logit_bias = logit_bias;
    request.grammar = grammar;
    all.push_back(std::make_shared<TestListener>());
    EXPECT_TRUE(engine.Submit(seed, *engine.Check(request), all.back()).ok());
  }
  while (engine.Step()) {
  }
  return all;
}

TEST_F(ModelTest, TellsWhatTheFileSaysWithAndWithoutWeights) {
  for (const bool weights : {true, false}) {
    const auto model = weights ? Model::Load(Path()) : Model::LoadFacts(Path());
    ASSERT_TRUE(model.ok()) << model.status();
    const ModelFacts& facts = (*model)->facts();
    EXPECT_EQ(facts.name, "test");
    EXPECT_EQ(facts.architecture, "llama");
    EXPECT_EQ(facts.quantisation, "Q8_0");
    EXPECT_EQ(facts.layers, 3u);
    EXPECT_EQ(facts.embedding, 256u);
    EXPECT_EQ(facts.heads, 4u);
    EXPECT_EQ(facts.kv_heads, 2u);
    EXPECT_EQ(facts.vocabulary, 320u);
    EXPECT_EQ(facts.trained_context, 4096u);
    EXPECT_THAT(facts.chat_template, HasSubstr("message.role"));
    EXPECT_TRUE(facts.reuses_prefixes);
    // Attention, feed-forward, norms; two matrices of tokens, the last norm.
    const uint64_t layer = 256 * 256 * 2 + 256 * 128 * 2 + 3 * 256 * 128 + 2 * 256;
    EXPECT_EQ(facts.parameters, 3 * layer + 2 * 320 * 256 + 256);
    EXPECT_NEAR(static_cast<double>(facts.weight_bytes), 34.0 / 32 * facts.parameters, 8000);
  }
}

TEST_F(ModelTest, TokensAreTheTextAgain) {
  const auto model = Model::Load(Path());
  ASSERT_TRUE(model.ok());
  const auto text = [&](std::string_view words, bool special) {
    std::string back;
    const auto tokens = (*model)->Tokenize(words, /*add_start=*/true, special);
    EXPECT_EQ(tokens->front(), 1);
    for (const Token token : *tokens) back += (*model)->Piece(token, /*control=*/false);
    return back;
  };
  EXPECT_EQ(text("hello </s> wörld 🙂", false), " hello </s> wörld 🙂");
  EXPECT_EQ(text("a</s>", true), " a");  // a control token adds no text
  EXPECT_TRUE((*model)->IsEnd(2));
  EXPECT_FALSE((*model)->IsEnd(3));
}

TEST_F(ModelTest, AConversationBeginsOnce) {
  const auto model = Model::Load(Path());
  ASSERT_TRUE(model.ok());
  const auto text = (*model)->RenderChat({.messages = R"([{"role": "user", "content": "hi"}])"});
  ASSERT_TRUE(text.ok()) << text.status();
  EXPECT_EQ(*text, "<user>hi</user><assistant>");
  const auto tokens = (*model)->Tokenize(*text, /*add_start=*/true, /*special=*/true);
  EXPECT_EQ(std::count(tokens->begin(), tokens->end(), 1), 1);
}

TEST_F(ModelTest, SaysWhyAFileCannotBeLoaded) {
  EXPECT_TRUE(absl::IsNotFound(Model::Load(*shared_folder / "absent.gguf").status()));
  EXPECT_THAT(Model::Load(shared_folder->path()).status().message(), HasSubstr("is no file"));
  std::ifstream in(Path(), std::ios::binary);
  const std::string good((std::istreambuf_iterator<char>(in)), std::istreambuf_iterator<char>());
  const auto load = [&](const std::string& bytes) {
    const std::string path = *shared_folder / "bad.gguf";
    std::ofstream(path, std::ios::binary) << bytes;
    return Model::Load(path).status();
  };
  for (const std::string& bad : {std::string(), std::string("no model at all, sorry"),
                                 good.substr(0, 5000), good.substr(0, good.size() / 2)}) {
    const absl::Status status = load(bad);
    EXPECT_TRUE(absl::IsInvalidArgument(status)) << status;
    EXPECT_THAT(status.message(), HasSubstr("cannot be loaded: "));
    EXPECT_THAT(status.message(), ::testing::Not(HasSubstr("no reason")));
  }
}

TEST_F(ModelTest, AnyAnswerOfTheJsonGrammarParses) {
  // Of random weights: brackets would go on opening.
  std::vector<std::pair<Token, float>> bias = {{2, 5.0f}};
  for (const char c : std::string("{[:,")) bias.emplace_back(3 + c, -4.0f);
  for (const char c : std::string("\"}]")) bias.emplace_back(3 + c, 6.0f);
  int whole = 0;
  for (const auto& heard : Answers(Path(), kJsonGrammar, bias)) {
    if (heard->ends.at(0).finish != Finish::kStop) continue;
    ++whole;
    EXPECT_TRUE(nlohmann::json::accept(heard->text[0])) << heard->text[0];
  }
  EXPECT_GE(whole, 12);
}

// Of bytes that are none the library makes characters: each was shown as up to four.
TEST_F(ModelTest, AnAnswerOfAGrammarIsMadeOfCharacters) {
  std::vector<std::pair<Token, float>> bias;
  for (Token byte = 0x80; byte < 0x100; ++byte) bias.emplace_back(3 + byte, 12.0f);
  const auto all = Answers(Path(), "root ::= [^a]{5}", bias);
  EXPECT_EQ(all.size(), 24u);
  for (const auto& heard : all) {
    EXPECT_EQ(heard->ends.at(0).finish, Finish::kStop);
    EXPECT_THAT(heard->text[0], ::testing::Not(HasSubstr("\uFFFD")));
  }
}

TEST_F(ModelTest, AControlTokenIsOfAGrammarWhereItIsShown) {
  const auto model = Model::Load(Path());
  ASSERT_TRUE(model.ok());
  ASSERT_EQ((*model)->Piece(1, /*control=*/true), "<s>");
  for (const bool shown : {false, true}) {
    const auto filter = (*model)->MakeFilter("root ::= \"<s>\" | \"a\"", shown);
    ASSERT_TRUE(filter.ok()) << filter.status();
    EXPECT_EQ((*filter)->Allows(1), shown);
    EXPECT_TRUE((*filter)->Allows(3 + 'a'));
    std::vector<float> logits((*model)->facts().vocabulary, 1.0f);
    (*filter)->Mask(logits);
    EXPECT_EQ(logits[1] == 1.0f, shown);
  }
}

TEST_F(ModelTest, RefusesWhatIsNoGrammar) {
  const auto model = Model::Load(Path());
  ASSERT_TRUE(model.ok());
  for (const std::string& bad :
       {std::string("root ::= ("), std::string("nothing"), std::string("other ::= \"a\""),
        "root ::= " + std::string(5000, '(') + "\"a\"" + std::string(5000, ')'),
        "root ::= \"" + std::string(70'000, 'a') + "\"", std::string("root ::= root \"a\"")}) {
    EXPECT_TRUE(absl::IsInvalidArgument((*model)->MakeFilter(bad, false).status()))
        << bad.substr(0, 50);
  }
}

TEST_F(ModelTest, TheEstimateIsWhatTheLibraryLaysOut) {
  const auto estimate = EstimateMemory(Path(), {.slots = 4, .context = 1024});
  ASSERT_TRUE(estimate.ok()) << estimate.status();
  // 16 bits for a key and a value of 2 of 4 heads, of 3 layers, 4096 tokens.
  EXPECT_NEAR(static_cast<double>(estimate->kv_bytes), 2 * 2 * 128 * 3 * 4096.0, 1e4);
  EXPECT_GT(estimate->compute_bytes, 1u << 20);
  const auto model = Model::LoadFacts(Path());
  ASSERT_TRUE(model.ok());
  const auto weights = static_cast<double>((*model)->facts().weight_bytes);
  const double packed = (*model)->uses_amx() ? 38.0 / 34 : 1;  // Q8_0
  EXPECT_NEAR(estimate->weight_bytes / weights, packed, packed == 1 ? 0 : 0.01);
  const auto twice = EstimateMemory(Path(), {.slots = 4, .context = 2048});
  EXPECT_NEAR(static_cast<double>(twice->kv_bytes), 2.0 * estimate->kv_bytes, 2e4);
}

TEST(EstimateTest, AddsUpEveryBufferAndKnowsWhenItWasToldNone) {
  const auto sizes = ReadBufferSizes(
      {"llama_kv_cache: size =    4.00 MiB (  1024 cells,   2 layers), K (f16):    2.00 MiB",
       "llama_memory_recurrent: size =    1.50 MiB (     4 cells)",
       "llama_context:        CPU  output buffer size =     0.50 MiB",
       "sched_reserve:    Vulkan0 compute buffer size =     4.25 MiB",
       "sched_reserve:        CPU compute buffer size =     2.25 MiB", "size = nothing MiB"});
  ASSERT_TRUE(sizes.ok());
  EXPECT_EQ(sizes->kv_bytes, 5632u << 10);
  EXPECT_EQ(sizes->compute_bytes, 7u << 20);
  EXPECT_FALSE(ReadBufferSizes({"something else entirely"}).ok());
}

}  // namespace
}  // namespace corpgrid::inference
