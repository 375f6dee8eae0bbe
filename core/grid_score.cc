// Who should run what. docs/architecture.md says how the few that are scored are found.

#include <algorithm>
#include <cmath>

#include "core/grid.h"

namespace corpgrid::core {

double Grid::UseNow(const Device& device) const {
  const double age = static_cast<double>(meta_.time_ms - device.use_ms);
  return device.use * std::exp2(-age / kUseHalfLifeMs);
}

Standing Grid::StandingOf(const Device& device) const {
  Standing standing;
  standing.reputation = LowerBoundOf(device.reputation, meta_.time_ms);
  const double headroom = device.condition.thermal_headroom;
  if (headroom >= 0) standing.thermal = std::min(headroom, 1.0);
  standing.fairness = 1 / (1 + UseNow(device));
  standing.utilisation = 1 / (1 + static_cast<double>(device.leases.size()));
  return standing;
}

double Grid::Diversity(const Shard& shard, const Device& device) const {
  double least = 1;
  for (const Attempt& attempt : shard.attempts) {
    least = std::min(least, Unlikeness(devices_.at(attempt.row.device).row, device.row));
  }
  return least;
}

Grid::Device* Grid::BestWaiting(Job& job) {
  const auto suits = [&](DeviceId id) {
    const Device& device = devices_.at(id);
    return Fits(job.want, device.row) && device.leases.size() < kMaxLeasesPerDevice &&
           PausedUntilMs(job, id) <= meta_.time_ms &&
           (FreshFor(job, device) > 0 || FindOpen(job, device) != job.live.end());
  };
  const auto fit = [&](DeviceId id) {
    return config_.weights.fit * Fit(job.want, devices_.at(id).row);
  };
  // What only trusted devices may do waits for them, however many others are there.
  if (job.trusted_only() || !job.audits.empty() || job.checks_all()) {
    for (const DeviceId id : trusted_) {
      Device& device = devices_.at(id);
      if (device.wants > 0 && TakesWork(device) && suits(id)) return &device;
    }
  }
  Device* best = nullptr;
  double best_score = 0;
  for (const DeviceId id : waiting_.Best(job.want, kMaxCandidates, kMaxScanned, suits, fit)) {
    Device& device = devices_.at(id);
    const auto open = FindOpen(job, device);
    const double diversity = open == job.live.end() ? 1 : Diversity(open->second, device);
    const double score =
        StandingOf(device).Score(config_.weights) + fit(id) + config_.weights.diversity * diversity;
    if (best && (score < best_score || (score == best_score && best->row.id < id))) continue;
    best = &device;
    best_score = score;
  }
  return best;
}

}  // namespace corpgrid::core
