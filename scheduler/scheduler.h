#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "core/grid_limits.h"
#include "core/placement.h"
#include "store/follower.h"

namespace corpgrid::scheduler {

struct Options {
  std::string data_folder;
  std::string store = "";               // as store::Open takes it; empty: SQLite in the data folder
  store::Follower* follower = nullptr;  // for store::Open; must outlive the scheduler
  std::string listen = "127.0.0.1:0";   // port 0 picks a free one
  int64_t heartbeat_ms = 2000;
  int grace_heartbeats = 4;
  int64_t keep_jobs_ms = 0;  // after their end; 0: for ever
  double audit_rate = 0.05;  // core::GridConfig
  core::Weights weights = {};
  std::vector<std::string> known_programs = {};  // that attested agents are; rpc::Measure, raw
  // Starts a process that calls ServeValidator (scheduler/validator_child.h); empty: jobs with
  // validator programs are refused.
  std::vector<std::string> validator = {};
};

core::GridConfig ConfigOf(const Options& options);

// A whole scheduler: state, objects, and the four services on one port.
class Scheduler {
 public:
  // Returns once it listens and DATA/grid.json is written. Errors: InvalidArgument or Unimplemented
  // for the address, AlreadyExists when another scheduler uses the folder or leads the store,
  // FailedPrecondition when the port is in use, those of the store.
  static absl::StatusOr<std::unique_ptr<Scheduler>> Start(const Options& options);

  virtual ~Scheduler() = default;

  // "127.0.0.1:50051", with the port that was picked.
  virtual const std::string& address() const = 0;
  // Returns OK when Stop was called, or Aborted as soon as another scheduler leads the grid: then
  // this one answers nothing any more, and should be stopped. Any thread.
  virtual absl::Status Wait() = 0;
  // Ends open calls within a second or so, and signs the audit log. Any thread; idempotent. Call
  // before destruction.
  virtual void Stop() = 0;
};

}  // namespace corpgrid::scheduler
