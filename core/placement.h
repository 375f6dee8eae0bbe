#pragma once

#include <compare>
#include <cstdint>
#include <string>
#include <vector>

#include "core/rows.h"
#include "job/spec.h"

// Which devices may run a job's shards, and which of them should.
namespace corpgrid::core {

// What a job asks of a device: the hard filters. Jobs that ask for the same are one class.
struct Requirements {
  uint32_t backends = 0;  // bit set of job::Backend; one of them will do
  uint32_t cpus = 0;
  uint64_t memory_bytes = 0;
  uint64_t vram_bytes = 0;
  bool network = false;
  uint32_t protocol = 1;  // from which on agents understand its spec
  bool attested = false;
  std::vector<std::string> labels = {};  // all of them
  std::vector<std::string> sites = {};   // one of them; none: any

  static Requirements Of(const job::JobSpec& spec);
  auto operator<=>(const Requirements&) const = default;
};

bool Fits(const Requirements& want, const DeviceRow& has);
// Why not, in a clause about the device ("it has 2 CPUs, not 8"); empty when it fits.
std::string Misfit(const Requirements& want, const DeviceRow& has);

// FEATURES A2. The weights of the terms of a score; they should sum to 1.
struct Weights {
  double reputation = 0.40;
  double fit = 0.20;
  double thermal = 0.10;
  double fairness = 0.10;
  double diversity = 0.15;
  double utilisation = 0.05;
};

// The share of a device that a shard would use, 0..1: of its video memory where the shard wants
// some, else of its memory. A tight fit keeps large devices free for what fits nowhere else.
double Fit(const Requirements& want, const DeviceRow& has);

// How unlike two devices are, 0..1, so that one cause cannot spoil both of their results: their
// sites, backends, drivers and versions.
double Unlikeness(const DeviceRow& a, const DeviceRow& b);

// The terms that are the same whatever the shard, each 0..1 and 1 the best.
struct Standing {
  double reputation = 0;   // LowerBoundOf()
  double thermal = 0.5;    // headroom; a half where the device does not say
  double fairness = 1;     // 1 / (1 + recent use)
  double utilisation = 1;  // 1 / (1 + leases)

  double Score(const Weights& weights) const {
    return weights.reputation * reputation + weights.thermal * thermal +
           weights.fairness * fairness + weights.utilisation * utilisation;
  }
};

}  // namespace corpgrid::core
