#include "job/statement.h"

#include <functional>
#include <set>

#include "crypto/signature.h"
#include "gtest/gtest.h"

namespace corpgrid::job {
namespace {

Result Good() {
  return {Outcome::kExited, 0, {{"a", crypto::Blake3("a"), 1}, {"b", crypto::Blake3("b"), 2}}};
}

TEST(ResultTest, OnlyAnExitWithZeroSucceeds) {
  EXPECT_TRUE(Good().succeeded());
  EXPECT_FALSE((Result{Outcome::kExited, 1, {}}).succeeded());
  EXPECT_FALSE((Result{Outcome::kWallLimit, 0, {}}).succeeded());
  EXPECT_FALSE(Result().succeeded());
}

TEST(ResultTest, ResultsAgreeOnlyWhenAllIsEqual) {
  EXPECT_EQ(Good().Key(), Good().Key());
  const std::vector<std::function<void(Result&)>> changes = {
      [](Result& r) { r.outcome = Outcome::kSignaled; },
      [](Result& r) { r.exit_code = -1; },
      [](Result& r) { r.outputs[0].name = "c"; },
      [](Result& r) { r.outputs[0].hash = crypto::Blake3("c"); },
      [](Result& r) { r.outputs[1].size_bytes = 3; },
      [](Result& r) { std::swap(r.outputs[0], r.outputs[1]); },
      [](Result& r) { r.outputs.pop_back(); },
      [](Result& r) { r.outputs.clear(); },
  };
  std::set<crypto::Hash> keys = {Good().Key()};
  for (size_t i = 0; i < changes.size(); ++i) {
    Result changed = Good();
    changes[i](changed);
    EXPECT_TRUE(keys.insert(changed.Key()).second) << i;
  }
}

TEST(ResultStatementTest, NoFieldCanBeChangedUnderTheSignature) {
  const crypto::KeyPair device = crypto::KeyPair::Generate();
  const ResultStatement base{.grid_id = "grid",
                             .device = {1},
                             .shard = {{2}, 3},
                             .attempt = {4},
                             .lease_token = "token",
                             .bundle = crypto::Blake3("bundle"),
                             .spec = crypto::Blake3("spec"),
                             .result_key = Good().Key()};
  const std::string signature = device.Sign(base.Encode());
  EXPECT_TRUE(crypto::Verify(device.public_key(), base.Encode(), signature).ok());
  const std::vector<std::function<void(ResultStatement&)>> changes = {
      [](ResultStatement& s) { s.grid_id = "other"; },
      [](ResultStatement& s) { s.device = {9}; },
      [](ResultStatement& s) { s.shard.job = {9}; },
      [](ResultStatement& s) { s.shard.index = 9; },
      [](ResultStatement& s) { s.attempt = {9}; },
      [](ResultStatement& s) { s.lease_token = "stolen"; },
      [](ResultStatement& s) { s.bundle = crypto::Blake3("x"); },
      [](ResultStatement& s) { s.spec = crypto::Blake3("x"); },
      [](ResultStatement& s) { s.result_key = crypto::Blake3("x"); },
      [](ResultStatement& s) { std::swap(s.bundle, s.spec); },
      [](ResultStatement& s) { std::swap(s.device.value, s.shard.job.value); },
  };
  for (size_t i = 0; i < changes.size(); ++i) {
    ResultStatement changed = base;
    changes[i](changed);
    EXPECT_TRUE(
        absl::IsPermissionDenied(crypto::Verify(device.public_key(), changed.Encode(), signature)))
        << i;
  }
}

TEST(JobStatementTest, BindsGridBundleAndSpec) {
  const crypto::Hash a = crypto::Blake3("a");
  const crypto::Hash b = crypto::Blake3("b");
  const std::set<std::string> statements = {JobStatement("grid", a, b), JobStatement("grid", b, a),
                                            JobStatement("grid", a, a), JobStatement("gri", a, b)};
  EXPECT_EQ(statements.size(), 4u);
}

TEST(OutcomeTest, EachHasItsOwnText) {
  std::set<std::string_view> texts;
  for (int i = 1; i <= 8; ++i) texts.insert(ToText(static_cast<Outcome>(i)));
  EXPECT_EQ(texts.size(), 8u);
  EXPECT_FALSE(texts.contains(ToText(static_cast<Outcome>(99))));
}

}  // namespace
}  // namespace corpgrid::job
