#include "core/bound.h"

#include <algorithm>
#include <cmath>

namespace corpgrid::core {
namespace {

// A number that may be far smaller than a double: its fraction and a power of two, exact.
class Tiny {
 public:
  explicit Tiny(double value) : fraction_(value) { Normalise(); }

  Tiny& operator*=(const Tiny& other) {
    fraction_ *= other.fraction_;
    exponent_ += other.exponent_;
    Normalise();
    return *this;
  }
  Tiny& operator*=(double factor) { return *this *= Tiny(factor); }

  Tiny& operator+=(const Tiny& other) {
    if (other.fraction_ == 0) return *this;
    if (fraction_ == 0) return *this = other;
    constexpr int64_t kNothing = 200;  // beyond a double's precision
    const int64_t gap = other.exponent_ - exponent_;
    if (gap > kNothing) return *this = other;
    if (gap >= -kNothing) fraction_ += std::ldexp(other.fraction_, static_cast<int>(gap));
    Normalise();
    return *this;
  }

  bool AtMost(double value) const {
    const Tiny other(value);
    if (fraction_ == 0 || other.fraction_ == 0) return fraction_ == 0;
    if (exponent_ != other.exponent_) return exponent_ < other.exponent_;
    return fraction_ <= other.fraction_;
  }

 private:
  void Normalise() {
    int shift = 0;
    fraction_ = std::frexp(fraction_, &shift);
    exponent_ += shift;
  }

  double fraction_;
  int64_t exponent_ = 0;
};

Tiny Power(double base, uint64_t exponent) {
  Tiny power(1), square(base);
  for (; exponent > 0; exponent >>= 1) {
    if ((exponent & 1) != 0) power *= square;
    square *= square;
  }
  return power;
}

double AsDouble(uint64_t number) { return static_cast<double>(number); }

// Whether of `count` trials at most `most` succeed with a probability of at most `alpha`.
bool FewAreUnlikely(double chance, uint64_t count, uint64_t most, double alpha) {
  if (most >= count) return false;
  Tiny term = Power(1 - chance, count);
  Tiny sum = term;
  for (uint64_t x = 0; x < most; ++x) {
    term *= AsDouble(count - x) / AsDouble(x + 1) * (chance / (1 - chance));
    sum += term;
  }
  return sum.AtMost(alpha);
}

// The largest number from `low` to `high` for which `unlikely` does not hold; it holds for all from
// some number on, and not for `low`.
template <typename Unlikely>
uint64_t LastLikely(uint64_t low, uint64_t high, const Unlikely& unlikely) {
  while (low < high) {
    const uint64_t middle = low + (high - low + 1) / 2;
    if (unlikely(middle)) {
      high = middle - 1;
    } else {
      low = middle;
    }
  }
  return low;
}

}  // namespace

uint64_t MostWrong(uint64_t chance, uint64_t caught, uint64_t limit, double alpha) {
  if (chance >= kCertain || caught >= limit) return std::min(caught, limit);
  const double share = alpha / (AsDouble(caught + 1) * AsDouble(caught + 2));
  const double p = AsDouble(chance) / AsDouble(kCertain);
  return LastLikely(caught, limit,
                    [&](uint64_t count) { return FewAreUnlikely(p, count, caught, share); });
}

uint64_t ChanceFor(uint64_t allowed, double alpha) {
  // One less than the smallest is the last that is too small.
  if (allowed == 0) return kCertain;
  const auto enough = [&](uint64_t chance) {
    return FewAreUnlikely(AsDouble(chance) / AsDouble(kCertain), allowed + 1, 0, alpha / 2);
  };
  return LastLikely(0, kCertain - 1, enough) + 1;
}

}  // namespace corpgrid::core
