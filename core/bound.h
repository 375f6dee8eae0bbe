#pragma once

#include <cstdint>

// How many wrong results may have been accepted without anybody noticing.
//
// An audit repeats a shard, chosen by a secret coin after its result was accepted, on a device that
// the operator trusts. Whoever lies, alone or in concert, does so before the coin is thrown. The
// bounds are upper confidence limits: those of C. J. Clopper and E. S. Pearson, "The use of
// confidence or fiducial limits illustrated in the case of the binomial", 1934, which invert the
// tail of a distribution. Only IEEE arithmetic, no functions of a C library that differ: the same
// numbers everywhere.
namespace corpgrid::core {

// Of a coin, in units of 2^-32.
inline constexpr uint64_t kCertain = uint64_t{1} << 32;

// What jobs are told holds for 95 % of them at least.
inline constexpr double kBoundAlpha = 0.05;

// The most wrong results that there were, with a confidence of 1 - `alpha`, when each was caught
// with `chance` and `caught` were; at most `limit`. It holds also against devices that hear of each
// catch and choose what to do next: for them `alpha` is spread over all counts of catches,
// 1 / ((c + 1) (c + 2)) of it for c, and each lie's coin is independent of all before it. Costs
// O(caught log limit).
uint64_t MostWrong(uint64_t chance, uint64_t caught, uint64_t limit, double alpha = kBoundAlpha);

// A chance with which MostWrong() is at most `allowed` when nothing is caught: the smallest one, or
// kCertain for 0.
uint64_t ChanceFor(uint64_t allowed, double alpha = kBoundAlpha);

}  // namespace corpgrid::core
