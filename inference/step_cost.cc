#include "inference/step_cost.h"

namespace corpgrid::inference {
namespace {

constexpr double kKept = 0.875;        // of a step's weight, by the next one
constexpr double kLeastSpread = 1e-3;  // of the steps' shapes, from which the two can be told apart

}  // namespace

void StepCost::Saw(const StepSize& step, double us) {
  const double rows = step.rows, keys = static_cast<double>(step.keys);
  rows_rows_ = kKept * rows_rows_ + rows * rows;
  rows_keys_ = kKept * rows_keys_ + rows * keys;
  keys_keys_ = kKept * keys_keys_ + keys * keys;
  rows_us_ = kKept * rows_us_ + rows * us;
  keys_us_ = kKept * keys_us_ + keys * us;
}

double StepCost::Us(const StepSize& step) const {
  if (rows_rows_ == 0) return 0;
  const double spread = rows_rows_ * keys_keys_ - rows_keys_ * rows_keys_;
  if (spread > kLeastSpread * rows_rows_ * keys_keys_) {
    const double row = (keys_keys_ * rows_us_ - rows_keys_ * keys_us_) / spread;
    const double key = (rows_rows_ * keys_us_ - rows_keys_ * rows_us_) / spread;
    if (row >= 0 && key >= 0) return row * step.rows + key * static_cast<double>(step.keys);
  }
  return rows_us_ / rows_rows_ * step.rows;
}

void StepCost::Scale(double factor) {
  rows_us_ *= factor;
  keys_us_ *= factor;
}

}  // namespace corpgrid::inference
