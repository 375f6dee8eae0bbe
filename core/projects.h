#pragma once

#include <compare>
#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <string_view>

#include "core/job_queue.h"
#include "core/placement.h"
#include "core/rows.h"

// Projects, and whose turn it is to get a lease: dominant resource fairness (A. Ghodsi et al.,
// "Dominant Resource Fairness: Fair Allocation of Multiple Resource Types", NSDI 2011), weighted.
// docs/decisions/0009-projects.md says what follows from it.
namespace corpgrid::core {

// What running attempts use, or devices have, together.
struct Amounts {
  uint64_t cpus = 0;
  uint64_t memory_bytes = 0;
  uint64_t gpus = 0;
  uint64_t attempts = 0;

  // What one attempt counts for. It uses a GPU when nothing but one will do.
  static Amounts Of(const Requirements& want);
  // What a device has: one GPU, or none.
  static Amounts Of(const DeviceRow& has);

  Amounts& operator+=(const Amounts& other);
  Amounts& operator-=(const Amounts& other);
  bool operator==(const Amounts&) const = default;
};

// How many more attempts of `one` each the project's quotas have room for, when it uses `used`.
uint64_t Room(const ProjectRow& project, const Amounts& used, const Amounts& one);

// Which quota has no room for another attempt of `one`, in a clause that begins with "it uses"
// ("it uses 4 of 4 CPUs, and a shard asks for 1"); empty when all have.
std::string Shortage(const ProjectRow& project, const Amounts& used, const Amounts& one);

// The largest part that `used` has of any resource of `total`, over `weight`, in units of 2^-48 and
// rounded down. Integers, so that all compilers agree on the order.
uint64_t WeightedShare(const Amounts& used, const Amounts& total, uint32_t weight);

// A project's place in the order: the smaller weighted share goes first; of equal ones, as where
// few shards run at a time, the one that has got less by its weight; then the name. A default one
// is before every project's.
struct Turn {
  uint64_t share = 0;
  uint64_t got = 0;
  std::string_view name;

  auto operator<=>(const Turn&) const = default;
};

struct Project {
  std::string_view name;  // where the grid keeps it, which outlives every Turn
  ProjectRow row;
  Amounts used;             // by its running attempts
  uint64_t got = 0;         // the weighted shares of all its attempts, in units of 2^-32
  JobQueue queue;           // its jobs that have shards to give
  std::set<Rank> running;   // its jobs with running attempts
  uint32_t unfinished = 0;  // jobs
  uint32_t queued = 0;      // of them, that have not begun
  Turn turn;                // its place in the order
  bool waits = false;       // it is there, for some class
  bool moved = false;       // it has to be put there again
};

// The projects that have shards to give and room for them, by class of what these ask for, so that
// a device finds the next one without looking at those that have nothing for it. One decision costs
// the number of classes and the logarithm of the number of projects.
class Turns {
 public:
  void Insert(const Requirements& want, Project& project) {
    classes_[want][project.turn] = &project;
  }

  void Erase(const Requirements& want, const Turn& turn) {
    const auto found = classes_.find(want);
    if (found == classes_.end()) return;
    found->second.erase(turn);
    if (found->second.empty()) classes_.erase(found);
  }

  // The first project behind `after` that has shards which `device` fits; null when there is none.
  Project* Next(const DeviceRow& device, const Turn& after) const {
    Project* next = nullptr;
    for (const auto& [want, projects] : classes_) {
      const auto project = projects.upper_bound(after);
      if (project == projects.end() || (next && next->turn <= project->first) ||
          !Fits(want, device)) {
        continue;
      }
      next = project->second;
    }
    return next;
  }

  // The first of all; null when there is none.
  const Project* First() const {
    const Project* first = nullptr;
    for (const auto& [want, projects] : classes_) {
      const auto& [turn, project] = *projects.begin();
      if (!first || turn < first->turn) first = project;
    }
    return first;
  }

 private:
  std::map<Requirements, std::map<Turn, Project*>> classes_;
};

}  // namespace corpgrid::core
