#pragma once

#include <cstdint>
#include <vector>

#include "inference/step_cost.h"

namespace corpgrid::inference {

// Chooses how many threads compute a step. Threads wait for each other many times a step, so on a
// machine that others use, fewer may be faster: beside two busy compilers one thread generated 74
// tokens a second on two cores, two threads 3. It goes by what steps take, and now and then tries
// another number: soon when steps take much longer than they did, rarely where the others are
// clearly slower. Where two are about as fast, the fewer. One thread at a time.
class ThreadTuner {
 public:
  explicit ThreadTuner(uint32_t max_threads);

  // For a step of this size.
  uint32_t Choose(const StepSize& step);

  // The step that Choose() was asked about last took so long.
  void Took(int64_t us);

 private:
  // Steps of alike size, for which the same number is best.
  struct Size {
    uint32_t best = 0;  // candidate
    StepCost cost;      // with it
    uint32_t trying = 0;
    uint32_t tries_left = 0;
    double tried = 0;  // mean of the tries, as shares of what they cost with the best
    uint32_t until_next_try = 0;
    uint32_t pause = 0;  // between tries
    bool known = false;
  };

  void StartTry(Size* size);
  void EndTry(Size* size);

  std::vector<uint32_t> candidates_;  // descending: all, half of them, …, 1
  Size sizes_[12];
  Size* current_ = nullptr;
  StepSize step_;
  uint32_t last_best_ = 0;  // of any size: the machine's load is one
};

}  // namespace corpgrid::inference
