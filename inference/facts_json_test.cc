#include "inference/facts_json.h"

#include <gtest/gtest.h>

namespace corpgrid::inference {
namespace {

TEST(FactsJsonTest, FactsComeBackAsTheyWere) {
  ModelFacts facts;
  facts.name = "n";
  facts.parameters = UINT64_MAX;
  facts.layers = UINT32_MAX;
  facts.chat_template = "{{ x }}";
  facts.reuses_prefixes = true;
  const auto back = ParseFacts(ToJson(facts));
  ASSERT_TRUE(back.ok()) << back.status();
  EXPECT_EQ(ToJson(*back), ToJson(facts));
  const MemoryEstimate estimate = {
      .weight_bytes = 1, .kv_bytes = 2, .compute_bytes = 3, .process_bytes = 4};
  EXPECT_EQ(ToJson(estimate)["total_bytes"], 10);
  EXPECT_EQ(ParseEstimate(ToJson(estimate))->total_bytes(), 10u);
  const Gpu gpu = {.name = "Vulkan0",
                   .backend = "vulkan",
                   .description = "fast",
                   .total_bytes = 2,
                   .free_bytes = 1};
  EXPECT_EQ(ToJson(ParseGpu(ToJson(gpu)).value()), ToJson(gpu));
}

TEST(FactsJsonTest, WrongKindsAreErrorsThatNameTheField) {
  for (const char* bad : {R"({"layers": -1})", R"({"layers": 4294967296})", R"({"layers": 1.5})",
                          R"({"layers": "2"})", R"({"layers": null})"}) {
    const auto facts = ParseFacts(Json::parse(bad));
    EXPECT_EQ(facts.status(), absl::InvalidArgumentError("\"layers\" has a wrong value")) << bad;
  }
  EXPECT_FALSE(ParseFacts(Json::array()).ok());
  EXPECT_FALSE(ParseFacts(Json()).ok());
  EXPECT_FALSE(ParseCompatibility(Json{{"loads", 1}}).ok());
  EXPECT_EQ(ParseFacts(Json{{"unknown", 1}})->layers, 0u);
}

}  // namespace
}  // namespace corpgrid::inference
