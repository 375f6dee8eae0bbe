#include "inference/thread_tuner.h"

#include <algorithm>
#include <bit>
#include <iterator>

namespace corpgrid::inference {
namespace {

constexpr uint32_t kTries = 3;
constexpr uint32_t kMinPause = 32, kMaxPause = 1024;
constexpr double kWeightOfNewest = 0.125;
constexpr double kMuchSlower = 1.15;   // an alternative that need not be tried again soon
constexpr double kLoadChanged = 1.35;  // that times as long as before, or as fast

// Powers of two: what a row costs depends much on how many there are.
size_t SizeClass(uint32_t rows, size_t classes) {
  return std::min<size_t>(std::bit_width(rows), classes - 1);
}

}  // namespace

ThreadTuner::ThreadTuner(uint32_t max_threads) {
  for (uint32_t threads = std::max(max_threads, 1u); threads > 0; threads /= 2) {
    candidates_.push_back(threads);
  }
  for (Size& size : sizes_) {
    size.pause = size.until_next_try = kMinPause;
  }
}

uint32_t ThreadTuner::Choose(uint32_t rows) {
  current_ = &sizes_[SizeClass(rows, std::size(sizes_))];
  rows_ = rows;
  return candidates_[current_->tries_left > 0 ? current_->trying : current_->best];
}

void ThreadTuner::Took(int64_t us) {
  Size& size = *current_;
  if (candidates_.size() == 1) return;
  const double now = static_cast<double>(us) / rows_;
  if (size.tries_left > 0) {
    size.tried += now / kTries;
    if (--size.tries_left == 0) EndTry(&size);
    return;
  }
  double& mean = size.us_per_row;
  mean = mean == 0 ? now : mean + kWeightOfNewest * (now - mean);
  if (size.at_last_try > 0 &&
      (mean > size.at_last_try * kLoadChanged || mean * kLoadChanged < size.at_last_try)) {
    size.pause = kMinPause;
    size.until_next_try = std::min(size.until_next_try, 1u);
  }
  if (--size.until_next_try == 0) StartTry(&size);
}

void ThreadTuner::StartTry(Size* size) {
  const auto count = static_cast<uint32_t>(candidates_.size());
  do {
    size->trying = (size->trying + 1) % count;
  } while (size->trying == size->best);
  size->tries_left = kTries;
  size->tried = 0;
  size->at_last_try = size->us_per_row;
}

void ThreadTuner::EndTry(Size* size) {
  const bool clear = size->tried > size->us_per_row * kMuchSlower;
  size->pause = clear ? std::min(size->pause * 2, kMaxPause) : kMinPause;
  if (size->tried < size->us_per_row) {
    size->best = size->trying;
    size->us_per_row = size->at_last_try = size->tried;
  }
  size->until_next_try = size->pause;
}

}  // namespace corpgrid::inference
