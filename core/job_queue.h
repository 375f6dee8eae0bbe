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

// The jobs that have shards to give, by class of what they ask for, so that a device finds the next
// one that it fits without looking at those that it does not. One decision costs the number of
// classes and the logarithm of the number of jobs.
class JobQueue {
 public:
  void Insert(Rank job, const Requirements& want) { classes_[want].insert(job); }

  void Erase(Rank job, const Requirements& want) {
    const auto found = classes_.find(want);
    if (found == classes_.end()) return;
    found->second.erase(job);
    if (found->second.empty()) classes_.erase(found);
  }

  // The first job behind `after` that `device` fits.
  std::optional<Rank> Next(const DeviceRow& device, Rank after) const {
    std::optional<Rank> next;
    for (const auto& [want, jobs] : classes_) {
      const auto job = jobs.upper_bound(after);
      if (job == jobs.end() || (next && *next < *job) || !Fits(want, device)) continue;
      next = *job;
    }
    return next;
  }

  // The first job of each class.
  std::vector<Rank> Fronts() const {
    std::vector<Rank> fronts;
    fronts.reserve(classes_.size());
    for (const auto& [want, jobs] : classes_) fronts.push_back(*jobs.begin());
    return fronts;
  }

 private:
  std::map<Requirements, std::set<Rank>> classes_;
};

}  // namespace corpgrid::core
