// What the audit log is told.

#include <string>
#include <vector>

#include "audit/tree.h"
#include "core/test_grid.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"

namespace corpgrid::core {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

class GridAuditTest : public ::testing::Test, protected TestGrid {
 protected:
  std::vector<std::string> Events() const {
    std::vector<std::string> events;
    for (const AuditRow& row : audit_) {
      events.push_back(nlohmann::json::parse(row.entry)["event"].get<std::string>());
    }
    return events;
  }
  nlohmann::json Last() const { return nlohmann::json::parse(audit_.back().entry); }
};

TEST_F(GridAuditTest, TellsOfTokensDevicesAndJobs) {
  const DeviceId ann = Join("ann");
  EXPECT_THAT(Events(), ElementsAre("join token created", "device registered"));
  EXPECT_EQ(Last()["device"], ann.value);
  EXPECT_EQ(Last()["owner"], "ann");
  EXPECT_EQ(Last()["token_hash"], tokens_.begin()->first.Hex());
  EXPECT_EQ(Last()["wall_ms"], 1'000'000 + now_ms_);
  const JobId job = Submit(1, 1, 1);
  EXPECT_EQ(Last()["event"], "job submitted");
  EXPECT_EQ(Last()["job"], job.value);
  EXPECT_EQ(Last()["spec_hash"], jobs_.at(job).spec_hash.Hex());
  const Lease lease = PollFor(ann, 1).at(0);
  ASSERT_TRUE(HandIn(lease, Result(lease, "x")).accepted);
  EXPECT_EQ(Last()["event"], "job ended");
  EXPECT_EQ(Last()["state"], "done");
  EXPECT_THAT(audit_, SizeIs(4));
}

TEST_F(GridAuditTest, SaysHowAJobEnded) {
  Apply(CancelJob{Submit(1, 1, 1)});
  EXPECT_EQ(Last()["state"], "cancelled");
  const DeviceId ann = Join("ann");
  Submit(1, 1, 1, /*retries=*/0, "another");
  const Lease lease = PollFor(ann, 1).at(0);
  HandIn(lease, Result(lease, "", /*exit_code=*/3));
  EXPECT_EQ(Last()["state"], "failed");
  EXPECT_EQ(Last()["error"], "shard 0 failed: the command ended with status 3");
}

TEST_F(GridAuditTest, WhatIsRepeatedOrChangesNothingIsNotTold) {
  const DeviceId ann = Join("ann");
  const JobId job = Submit(1, 1, 1);
  Apply(CancelJob{job});
  const size_t before = audit_.size();
  RegisterDevice again;
  again.device = devices_.at(ann);
  Apply(again);
  Apply(CreateJoinToken{tokens_.begin()->second});
  Submit(1, 1, 1);
  Apply(CancelJob{job});
  Apply(Heartbeat{.device = ann, .attempts = {}});
  EXPECT_THAT(audit_, SizeIs(before));
}

TEST_F(GridAuditTest, TellsThatASchedulerLeads) {
  Apply(NoteStart{17});
  EXPECT_EQ(Last()["event"], "scheduler started");
  EXPECT_EQ(Last()["term"], 17);
}

TEST_F(GridAuditTest, TellsWhatADeviceChangesOfItself) {
  RegisterDevice again;
  again.device = devices_.at(Join("ann"));
  const size_t before = audit_.size();
  again.device.version = "2";
  ++again.device.memory_bytes;
  Apply(again);
  EXPECT_THAT(audit_, SizeIs(before)) << "neither of them";
  again.device.network_allowed = true;
  again.device.backends = 5;
  Apply(again);
  EXPECT_EQ(Last()["event"], "device changed");
  EXPECT_EQ(Last()["device"], again.device.id.value);
  EXPECT_EQ(Last()["network"], "allowed");
  EXPECT_EQ(Last()["backends"], "cpu,vulkan");
  for (int i = 0; i < 1000; ++i) {
    again.device.site += "!";
    Apply(again);
  }
  EXPECT_EQ(Last()["times"], 512);
  EXPECT_THAT(audit_, SizeIs(before + Grid::kRepeatsLogged + 3));
}

TEST_F(GridAuditTest, TellsWhoMayNotRegister) {
  Join("ann");
  RegisterDevice stranger;
  stranger.device.public_key = "stranger";
  stranger.device.name = "Eve's";
  for (int i = 0; i < 1000; ++i) Apply(stranger);
  EXPECT_EQ(Last()["event"], "registration refused");
  EXPECT_EQ(Last()["reason"], "no such join token");
  EXPECT_EQ(Last()["name"], "Eve's");
  EXPECT_EQ(Last()["times"], 512);
  stranger.join_secret_hash = tokens_.begin()->first;
  Apply(stranger);
  EXPECT_EQ(Last()["reason"], "join token used up");
  EXPECT_EQ(Last()["token_hash"], tokens_.begin()->first.Hex());
  EXPECT_EQ(Last()["times"], 1);
}

TEST_F(GridAuditTest, TellsWhoWasOutvoted) {
  const DeviceId ann = Join("ann"), bob = Join("bob"), eve = Join("eve");
  Submit(1, 3, 2);
  const Lease a = PollFor(ann, 1).at(0), b = PollFor(bob, 1).at(0), e = PollFor(eve, 1).at(0);
  HandIn(e, Result(e, "a lie"));
  HandIn(a, Result(a, "x"));
  HandIn(b, Result(b, "x"));
  const auto entry = nlohmann::json::parse(audit_.at(audit_.size() - 2).entry);
  EXPECT_EQ(entry["event"], "result outvoted");
  EXPECT_EQ(entry["device"], eve.value);
  EXPECT_EQ(entry["attempt"], e.attempt.value);
}

TEST_F(GridAuditTest, RefusalsDoNotFillTheLog) {
  const DeviceId ann = Join("ann");
  const size_t before = audit_.size();
  SubmitResults forged{.device = ann, .results = {{}}};
  forged.results[0].row.attempt = {77};
  for (int i = 0; i < 1000; ++i) Apply(forged);
  EXPECT_EQ(Last()["event"], "result refused");
  EXPECT_EQ(Last()["reason"], "its lease has ended or never was");
  EXPECT_EQ(Last()["attempt"], 77);
  EXPECT_EQ(Last()["times"], 512);
  EXPECT_THAT(audit_, SizeIs(before + Grid::kRepeatsLogged + 3)) << "then 128, 256 and 512";
}

TEST_F(GridAuditTest, ACommonRefusalDoesNotHideAGraveOne) {
  const DeviceId ann = Join("ann"), eve = Join("eve");
  Submit(2, 1, 1);
  const Lease anns = PollFor(ann, 1).at(0), eves = PollFor(eve, 1).at(0);
  SubmitResults late{.device = eve, .results = {{}}};
  late.results[0].row.attempt = {77};
  for (int i = 0; i < 1000; ++i) Apply(late);
  Apply(SubmitResults{eve, {Result(anns, "stolen")}});
  EXPECT_EQ(Last()["reason"], "the attempt is another device's");
  EXPECT_EQ(Last()["times"], 1);
  HandedIn forged = Result(eves, "forged");
  forged.proof = Proof::kBadSignature;
  for (int i = 0; i < 2; ++i) HandIn(eves, forged);
  EXPECT_EQ(Last()["reason"], "the signature is not this device's over this result");
  EXPECT_EQ(Last()["times"], 2);
}

TEST_F(GridAuditTest, TheTreeGoesOnAfterARestart) {
  audit::Frontier tree;
  for (int i = 0; i < 20; ++i) {
    Join("owner " + std::to_string(i));
    if (i % 3 == 0) Restart();
  }
  for (size_t i = 0; i < audit_.size(); ++i) {
    EXPECT_EQ(audit_[i].index, i);
    std::string nodes;
    for (const auto& hash : tree.Append(audit::LeafHash(audit_[i].entry))) nodes += hash.Raw();
    EXPECT_EQ(audit_[i].nodes, nodes);
  }
  const auto view = std::get<LogView>(Apply(ViewLog{}).reply);
  EXPECT_EQ(view.size, 40u);
  EXPECT_EQ(view.root, tree.Root());
  EXPECT_EQ(grid_->meta().audit_frontier, tree.Raw());
}

TEST_F(GridAuditTest, ATreeThatCannotBeIsNotLoaded) {
  Join("ann");
  Snapshot snapshot = ToSnapshot();
  snapshot.meta = grid_->meta();
  snapshot.meta.audit_frontier.pop_back();
  const absl::Status status = Grid::Load({}, std::move(snapshot)).status();
  EXPECT_TRUE(absl::IsDataLoss(status)) << status;
  EXPECT_THAT(std::string(status.message()), HasSubstr("restore it from a backup"));
}

}  // namespace
}  // namespace corpgrid::core
