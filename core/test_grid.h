#pragma once

#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "core/grid.h"
#include "core/test_rows.h"
#include "gtest/gtest.h"

namespace corpgrid::core {

// A grid whose rows are kept as a daemon would keep them.
class TestGrid : public TestRows {
 public:
  TestGrid() { Restart(); }

  Effects Apply(decltype(Command::body) body) {
    Command command;
    command.time_ms = now_ms_;
    command.wall_ms = 1'000'000 + now_ms_;
    command.seed[0] = static_cast<uint8_t>(++commands_);
    command.body = std::move(body);
    Effects effects = grid_->Apply(command);
    Keep(effects.rows);
    return effects;
  }

  // What a restart of the scheduler does: only the rows survive.
  void Restart() {
    Snapshot snapshot = ToSnapshot();
    if (grid_) snapshot.meta = grid_->meta();
    snapshot.meta.grid_id = "test";
    auto grid = Grid::Load(config_, std::move(snapshot));
    ASSERT_TRUE(grid.ok()) << grid.status().ToString();
    grid_ = std::make_unique<Grid>(*std::move(grid));
  }

  DeviceId Join(const std::string& owner) {
    const crypto::Hash secret = crypto::Blake3(owner + std::to_string(commands_));
    Apply(CreateJoinToken{
        {.secret_hash = secret, .owner = owner, .uses_left = 1, .idempotency_key = secret.Hex()}});
    RegisterDevice c;
    c.device.public_key = secret.Hex();
    c.device.name = owner + "'s";
    c.device.cpus = 4;
    c.device.memory_bytes = 8ull << 30;
    c.device.backends = 1;
    c.join_secret_hash = secret;
    return std::get<Registered>(Apply(c).reply).device;
  }

  JobId Submit(uint32_t shards, uint32_t replicas, uint32_t quorum, uint32_t retries = 0,
               const std::string& key = "key") {
    job::JobFields fields;
    fields.name = "test";
    fields.command = {"/bin/true"};
    fields.shards = shards;
    fields.redundancy.replicas = replicas;
    fields.redundancy.quorum = quorum;
    fields.retries = retries;
    return Submit(fields, key);
  }

  JobId Submit(const job::JobFields& fields, const std::string& key) {
    const auto spec = job::JobSpec::Make(fields);
    EXPECT_TRUE(spec.ok()) << spec.status().ToString();
    return std::get<Submitted>(Apply(SubmitJob{.idempotency_key = key,
                                               .spec = *spec,
                                               .spec_hash = {},
                                               .bundle_hash = {},
                                               .bundle_bytes = 0,
                                               .submitter_key = "",
                                               .signature = ""})
                                   .reply)
        .job;
  }

  // After which a silent device has lost its leases for sure.
  static int64_t PastTtlMs() { return GridConfig().lease_ttl_ms() + kExpiryStepMs; }

  // Until a shard that failed for the first time is queued again.
  void AfterRetryDelay() {
    now_ms_ += Grid::kRetryDelayMs;
    Apply(Tick{});
  }

  std::vector<Lease> PollFor(DeviceId device, uint32_t shards, std::vector<AttemptId> held = {}) {
    return Apply(Poll{.device = device,
                      .max_shards = shards,
                      .condition = Power::kMains,
                      .held = std::move(held)})
        .leases;
  }

  static HandedIn Result(const Lease& lease, const std::string& bytes, int exit_code = 0) {
    HandedIn in;
    in.row.attempt = lease.attempt;
    in.row.result.outcome = job::Outcome::kExited;
    in.row.result.exit_code = exit_code;
    if (exit_code == 0) in.row.result.outputs = {{"out", crypto::Blake3(bytes), bytes.size()}};
    in.lease_token = lease.token;
    return in;
  }

  Verdict HandIn(const Lease& lease, const HandedIn& in) {
    last_ = Apply(SubmitResults{lease.device, {in}});
    return std::get<std::vector<Verdict>>(last_.reply).at(0);
  }

  GridConfig config_ = {.extra_replicas = false};
  int64_t now_ms_ = 1;
  uint64_t commands_ = 0;
  Effects last_;
  std::unique_ptr<Grid> grid_;
};

}  // namespace corpgrid::core
