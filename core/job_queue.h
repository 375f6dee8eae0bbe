#pragma once

#include <compare>
#include <cstdint>
#include <limits>
#include <map>
#include <optional>
#include <set>
#include <vector>

#include "base/ids.h"
#include "core/placement.h"

namespace corpgrid::core {

// A job's place in the queue: the higher priority goes first, then the older job. A default one is
// before every job's.
struct Rank {
  int32_t priority = std::numeric_limits<int32_t>::max();
  JobId job;

  std::strong_ordering operator<=>(const Rank& other) const {
    if (priority != other.priority) return other.priority <=> priority;
    return job <=> other.job;
  }
  bool operator==(const Rank&) const = default;
};

// The jobs of a project that have shards to give, by class of what they ask for, so that a device
// finds the next one that it fits without looking at those that it does not. One decision costs the
// number of classes and the logarithm of the number of jobs.
class JobQueue {
 public:
  struct Class {
    std::set<Rank> jobs;
    bool open = false;  // the project has room for another shard of it
  };
  using Classes = std::map<Requirements, Class>;

  void Insert(Rank job, const Requirements& want) { classes_[want].jobs.insert(job); }

  // Leaves the class, if empty, to whoever knows where else it is listed.
  void Erase(Rank job, const Requirements& want) {
    const auto found = classes_.find(want);
    if (found != classes_.end()) found->second.jobs.erase(job);
  }

  // The first job behind `after` that `device` fits, of the classes that are open.
  std::optional<Rank> Next(const DeviceRow& device, Rank after) const {
    std::optional<Rank> next;
    for (const auto& [want, members] : classes_) {
      const auto job = members.jobs.upper_bound(after);
      if (!members.open || job == members.jobs.end() || (next && *next < *job) ||
          !Fits(want, device))
        continue;
      next = *job;
    }
    return next;
  }

  // The first job of each open class.
  std::vector<Rank> Fronts() const {
    std::vector<Rank> fronts;
    fronts.reserve(classes_.size());
    for (const auto& [want, members] : classes_) {
      if (members.open && !members.jobs.empty()) fronts.push_back(*members.jobs.begin());
    }
    return fronts;
  }

  Classes& classes() { return classes_; }

 private:
  Classes classes_;
};

}  // namespace corpgrid::core
