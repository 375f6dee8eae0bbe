#pragma once

#include <cstdint>

namespace corpgrid::inference {

// What a step computes: tokens, and how many earlier ones each of them looks back at, all together.
struct StepSize {
  uint32_t rows = 0;
  uint64_t keys = 0;
};

// How long a step takes, learnt from those that were: so much a row and so much a key, the two by
// least squares in which newer steps weigh more. Within one prompt of 2,000 tokens the same number
// of rows takes three times as long at its end as at its start (254 M parameters, Q8_0, AMX). One
// thread at a time.
class StepCost {
 public:
  void Saw(const StepSize& step, double us);
  // 0 before any step was seen.
  double Us(const StepSize& step) const;
  // From now on all takes so many times as long.
  void Scale(double factor);

 private:
  // Weighted sums of products: of rows and rows, rows and keys, …
  double rows_rows_ = 0, rows_keys_ = 0, keys_keys_ = 0, rows_us_ = 0, keys_us_ = 0;
};

}  // namespace corpgrid::inference
