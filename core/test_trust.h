#pragma once

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "core/test_grid.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"

namespace corpgrid::core {

// A grid with two devices that nobody trusts, in which every accepted result is audited.
class GridTrustTest : public ::testing::Test, protected TestGrid {
 protected:
  GridTrustTest() { AuditAt(1); }

  void AuditAt(double rate) {
    config_.audit_rate = rate;
    Restart();
  }

  DeviceId JoinTrusted(const std::string& owner) {
    const DeviceId id = Join(owner);
    Apply(TrustDevice{.device = id});
    Apply(Heartbeat{.device = id, .condition = Power::kMains, .attempts = {}});
    return id;
  }

  JobId SubmitBounded(uint32_t shards, double max_error) {
    job::JobFields fields;
    fields.name = "bounded";
    fields.command = {"/bin/true"};
    fields.shards = shards;
    fields.redundancy.max_error = max_error;
    return Submit(fields, "bounded");
  }

  // The device gets one shard and answers with `bytes`.
  Lease Compute(DeviceId device, const std::string& bytes) {
    const std::vector<Lease> leases = PollFor(device, 1);
    EXPECT_THAT(leases, ::testing::SizeIs(1));
    if (leases.empty()) return {};
    EXPECT_TRUE(HandIn(leases[0], Result(leases[0], bytes)).accepted);
    return leases[0];
  }

  static HandedIn GivenBack(const Lease& lease) {
    HandedIn in = Result(lease, "");
    in.row.result = {.outcome = job::Outcome::kGivenBack, .exit_code = 0, .outputs = {}};
    return in;
  }

  const JobProgressRow& ProgressOf(JobId job) const { return jobs_.at(job).progress; }
  const ShardRow& ShardOf(JobId job, uint32_t index = 0) const { return shards_.at({job, index}); }
  uint64_t CountOf(const std::string& event) const {
    return static_cast<uint64_t>(std::count_if(
        audit_.begin(), audit_.end(),
        [&](const AuditRow& row) { return nlohmann::json::parse(row.entry)["event"] == event; }));
  }

  const DeviceId ann_ = Join("ann");
  const DeviceId bob_ = Join("bob");
};

}  // namespace corpgrid::core
