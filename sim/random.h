#pragma once

#include <array>
#include <bit>
#include <cstdint>

namespace corpgrid::sim {

// xoshiro256** of Blackman and Vigna, seeded by splitmix64: the same numbers from every compiler
// and library, which <random>'s distributions do not promise. Integers only.
class Random {
 public:
  explicit Random(uint64_t seed) {
    for (uint64_t& word : state_) word = SplitMix(&seed);
  }

  uint64_t Next() {
    const uint64_t result = std::rotl(state_[1] * 5, 7) * 9;
    const uint64_t shifted = state_[1] << 17;
    state_[2] ^= state_[0];
    state_[3] ^= state_[1];
    state_[1] ^= state_[2];
    state_[0] ^= state_[3];
    state_[2] ^= shifted;
    state_[3] = std::rotl(state_[3], 45);
    return result;
  }

  // 0 to n-1; n > 0. The bias of at most n/2^32 does not matter here.
  uint64_t Below(uint64_t n) { return ((Next() >> 32) * n) >> 32; }
  // `low` to `high`, both inclusive.
  int64_t Between(int64_t low, int64_t high) {
    return low + static_cast<int64_t>(Below(static_cast<uint64_t>(high - low + 1)));
  }
  // True `parts` times in a million.
  bool Chance(uint32_t parts) { return Below(1'000'000) < parts; }

  // The next number of the sequence that `state` stands in; also a good mixer of a few numbers.
  static uint64_t SplitMix(uint64_t* state) {
    uint64_t z = (*state += 0x9e3779b97f4a7c15);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
    z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
    return z ^ (z >> 31);
  }

 private:
  std::array<uint64_t, 4> state_{};
};

}  // namespace corpgrid::sim
