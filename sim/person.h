#pragma once

#include <cstdint>
#include <set>
#include <string>
#include <vector>

#include "sim/checker.h"
#include "sim/event_queue.h"
#include "sim/faults.h"
#include "sim/messages.h"
#include "sim/network.h"
#include "sim/world.h"

namespace corpgrid::sim {

// Somebody who submits jobs and waits for them, and repeats what got no answer. The first person
// also makes the join tokens and the projects, and says which devices are trusted.
class Person {
 public:
  struct Parts {  // all must outlive the person
    EventQueue* events;
    Network* network;
    Faults* faults;
    World* world;
    Checker* checker;
  };

  // `node` is the person's address; `wants` jobs are kept under way.
  Person(uint32_t node, uint64_t seed, uint32_t wants, bool rules, const Parts& parts);

  // Event kUserWake.
  void Wake();
  void Receive(const Answer& answer);
  // No new jobs from now on.
  void CalmDown() { calm_ = true; }
  bool done() const { return open_.empty(); }
  // The jobs that have not ended, as far as this person knows.
  std::vector<uint32_t> Waiting() const;
  // Gives a job up, because nobody can compute it; false when that was done before.
  bool GiveUp(uint32_t job);
  // Looks after a job that somebody's repeated submission made anew.
  void Adopt(uint32_t job);

 private:
  struct Open {
    uint32_t job = 0;
    bool submitted = false;  // and the answer came
    bool cancel = false;
    uint64_t call = 0;
    int64_t next_ms = 0;
  };

  void Ask(Open* open);
  void DrainSome();
  void UndoDrains();
  void RemoveSome();
  // Makes the projects, changes and removes them; in the calm lifts what may hold a job up.
  void RuleProjects();
  void ChangeProject(const char* name);
  void TrustSome();
  void LookAround();
  uint64_t Send(Body body);

  const Parts parts_;
  const uint32_t node_;
  const uint32_t wants_;
  Random random_;
  const bool rules_;  // over tokens and projects
  bool calm_ = false;
  uint64_t calls_ = 0;
  std::vector<Open> open_;
  std::vector<uint32_t> old_;     // some that ended
  std::vector<uint32_t> tokens_;  // of owners, not made yet
  uint64_t token_call_ = 0;
  std::set<DeviceId> drained_;  // that this person drained at some time
  uint64_t undo_call_ = 0;      // for the first of them
  size_t projects_made_ = 0;
  uint64_t project_call_ = 0;  // that makes the next one
};

}  // namespace corpgrid::sim
