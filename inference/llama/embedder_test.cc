#include "inference/llama/embedder.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "base/testing/temp_folder.h"
#include "inference/llama/test_model.h"

namespace corpgrid::inference {
namespace {

using ::testing::HasSubstr;

TEST(EmbedderTest, MakesVectorsOfLengthOneThatDependOnTheWholeText) {
  const testing::TempFolder folder;
  const std::string path = folder / "model.gguf";
  ASSERT_TRUE(MakeTestModel({}, path).ok());
  const auto model = Model::Load(path);
  ASSERT_TRUE(model.ok()) << model.status();
  const auto embedder = Embedder::Create(model->get(), 64, 1);
  ASSERT_TRUE(embedder.ok()) << embedder.status();
  const std::vector<Token> text = {5, 6, 7}, other = {4, 6, 7};
  const auto first = (*embedder)->Embed(text);
  ASSERT_TRUE(first.ok()) << first.status();
  EXPECT_EQ(first->size(), (*model)->facts().embedding);
  double sum = 0;
  for (const float value : *first) sum += static_cast<double>(value) * value;
  EXPECT_NEAR(std::sqrt(sum), 1, 1e-6);
  const auto second = (*embedder)->Embed(other);
  ASSERT_TRUE(second.ok());
  EXPECT_NE(*first, *second);
  EXPECT_EQ(*(*embedder)->Embed(text), *first) << "what was embedded between is forgotten";
  const auto error = [&](const std::vector<Token>& tokens) {
    return std::string((*embedder)->Embed(tokens).status().message());
  };
  EXPECT_THAT(error({}), HasSubstr("a text has 0 tokens"));
  EXPECT_THAT(error(std::vector<Token>(65, 5)), HasSubstr("it may have 1 to 64"));
  EXPECT_THAT(error({5, -1}), HasSubstr("the token -1"));
  EXPECT_THAT(error({std::numeric_limits<Token>::max()}), HasSubstr("the token 2147483647"));
  EXPECT_TRUE((*embedder)->Embed(std::vector<Token>(64, 5)).ok());
}

}  // namespace
}  // namespace corpgrid::inference
