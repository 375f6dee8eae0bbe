#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "crypto/hash.h"
#include "sim/agent.h"
#include "sim/checker.h"
#include "sim/digest.h"
#include "sim/event_queue.h"
#include "sim/faults.h"
#include "sim/network.h"
#include "sim/options.h"
#include "sim/person.h"
#include "sim/report.h"
#include "sim/scheduler.h"
#include "sim/seams.h"
#include "sim/storage.h"
#include "sim/world.h"

namespace corpgrid::sim {

// A whole grid in one thread: the real core and group commit, on a faulty store, with agents and
// people on a faulty network. The seed decides everything. One run an object.
class Simulation {
 public:
  // `seams` may be null and must outlive the simulation.
  explicit Simulation(Options options, Seams* seams = nullptr);

  Report Run();

 private:
  void Begin();
  Report Sum(int64_t calm_from_ms);
  void Step();
  void Arrive(uint64_t message);
  void ThrowDice();
  // Runs until `done` says so or a violation was found; false when `limit_ms` came first.
  template <typename Done>
  bool RunUntil(const Done& done, int64_t limit_ms);
  void RunCalm();
  bool AllEnded() const;
  // Finds somebody for the jobs that nobody waits for: a submission that was repeated late made
  // them, after the job that it had made before was removed.
  void AdoptOrphans();
  // Lets people give up what nobody can compute. When `impatient`, whatever else is not done is a
  // violation.
  void GiveUpStarved(bool impatient);

  const Options options_;
  EventQueue events_;
  Faults faults_;
  World world_;
  Network network_;
  Checker checker_;
  std::unique_ptr<Storage> storage_;
  Loot loot_;
  Scheduler scheduler_;
  std::vector<Agent> agents_;
  std::vector<Person> people_;
  Digest digest_;
  uint64_t count_ = 0;
  uint64_t starved_ = 0;
};

}  // namespace corpgrid::sim
