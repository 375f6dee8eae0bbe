#pragma once

#include <map>
#include <optional>
#include <set>

#include "base/ids.h"
#include "core/placement.h"

namespace corpgrid::core {

// The jobs that have shards to give, by class of what they ask for, so that a device finds the next
// one that it fits without looking at those that it does not. One decision costs the number of
// classes and the logarithm of the number of jobs.
class JobQueue {
 public:
  void Insert(JobId job, const Requirements& want) { classes_[want].insert(job); }

  void Erase(JobId job, const Requirements& want) {
    const auto found = classes_.find(want);
    if (found == classes_.end()) return;
    found->second.erase(job);
    if (found->second.empty()) classes_.erase(found);
  }

  // The oldest job younger than `after` that `device` fits.
  std::optional<JobId> Next(const DeviceRow& device, JobId after) const {
    std::optional<JobId> next;
    for (const auto& [want, jobs] : classes_) {
      const auto job = jobs.upper_bound(after);
      if (job == jobs.end() || (next && *next < *job) || !Fits(want, device)) continue;
      next = *job;
    }
    return next;
  }

 private:
  std::map<Requirements, std::set<JobId>> classes_;
};

}  // namespace corpgrid::core
