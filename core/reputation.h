#pragma once

#include <cstdint>
#include <string_view>

#include "core/rows.h"

// What a device's past says of its next result.
//
// Each device has a Beta(alpha, beta) distribution of the chance that its work is good, from a
// prior of Beta(1, 1) (Laplace's rule of succession): a result that a quorum agreed with adds 1 to
// alpha, a fault adds its weight to beta. Evidence loses half of its weight in kHalfLifeMs, so that
// the distribution drifts back to the prior (as in Jøsang and Ismail, "The Beta Reputation System",
// 2002, with a forgetting factor by time instead of by event).
namespace corpgrid::core {

enum class Fault : uint8_t { kTimeout, kMismatch, kHeartbeatLoss, kChecksum, kCrash };

// How much trust a device has earned; decides how many replicas its shards get.
enum class Tier : uint8_t { kUnproven, kBad, kPoor, kFair, kGood, kExcellent };

std::string_view ToText(Tier tier);

inline constexpr double kPriorAlpha = 1;
inline constexpr double kPriorBeta = 1;
inline constexpr int64_t kHalfLifeMs = int64_t{30} * 24 * 3600 * 1000;
// With less evidence than this nothing is proven; for kExcellent, kExcellentSamples.
inline constexpr double kProvenSamples = 3;
inline constexpr double kExcellentSamples = 10;
inline constexpr uint64_t kCheckedToRunAlone = 5;

// Evidence about the device of `row`, at grid time `now_ms`.
void Reward(ReputationRow* row, int64_t now_ms);
void Penalise(ReputationRow* row, Fault fault, int64_t now_ms);

// A trusted device found a result right, or wrong: then what spoke for the device may have come
// from liars like it, and counts no more.
void Confirm(ReputationRow* row, int64_t now_ms);
void Refute(ReputationRow* row, int64_t now_ms);

// Whether a shard that asks for a bound may run on this device alone: it is excellent, and enough
// of that was checked.
bool MayRunAlone(const ReputationRow& row, int64_t now_ms);

// The posterior mean alpha / (alpha + beta), in (0, 1).
double MeanOf(const ReputationRow& row, int64_t now_ms);

// The lower end of the 95 % score interval of a proportion alpha / n with n = alpha + beta (E. B.
// Wilson, "Probable inference, the law of succession, and statistical inference", 1927), in (0, 1):
// low for a device of which little is known.
double LowerBoundOf(const ReputationRow& row, int64_t now_ms);

// By the mean: kExcellent from 0.95 (and enough samples), kGood from 0.85, kFair from 0.70, kPoor
// from 0.50.
Tier TierOf(const ReputationRow& row, int64_t now_ms);

// How many more replicas than the job asks for a shard gets that runs on a device of this tier; -1:
// one fewer. The quorum stays what it is.
int ExtraReplicas(Tier tier);

}  // namespace corpgrid::core
