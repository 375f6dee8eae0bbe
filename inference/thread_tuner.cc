#include "inference/thread_tuner.h"

#include <algorithm>
#include <bit>
#include <iterator>

namespace corpgrid::inference {
namespace {

constexpr uint32_t kTries = 2;
constexpr uint32_t kFirstTry = 2;      // steps until the first one
constexpr uint32_t kFirstLongTry = 3;  // where a first and a later part of a prompt were seen
constexpr uint32_t kLong = 64;  // rows of a step that is too long to be tried with fewer so soon
constexpr uint32_t kMinPause = 32, kMaxPause = 1024, kMaxClosePause = 256;
constexpr double kMuchSlower = 1.15;   // an alternative that need not be tried again soon
constexpr double kWorthMore = 0.9;     // more threads take more of the processors: they have to pay
constexpr double kLost = 1.3;          // one that need not be tried to the end
constexpr double kLoadChanged = 1.75;  // times as long as usual: something else is running

// Powers of two: what a row costs depends much on how many there are.
size_t SizeClass(uint32_t rows, size_t classes) {
  return std::min<size_t>(std::bit_width(rows), classes - 1);
}

}  // namespace

ThreadTuner::ThreadTuner(uint32_t max_threads) {
  for (uint32_t threads = std::max(max_threads, 1u); threads > 0; threads /= 2) {
    candidates_.push_back(threads);
  }
}

uint32_t ThreadTuner::Choose(const StepSize& step) {
  current_ = &sizes_[SizeClass(step.rows, std::size(sizes_))];
  step_ = step;
  if (!current_->known) {
    *current_ = {};
    current_->known = true;
    current_->best = last_best_;
    current_->until_next_try = step.rows < kLong ? kFirstTry : kMinPause;
    // What was learnt of short steps may be wrong here: 16 prompts took twice as long as they need.
    if (step.rows >= kLong && last_best_ > 0) {
      current_->until_next_try = kFirstLongTry;
      current_->trying = static_cast<uint32_t>(candidates_.size()) - 1;  // after which come all
    }
    current_->pause = kMinPause;
  }
  return candidates_[current_->tries_left > 0 ? current_->trying : current_->best];
}

void ThreadTuner::Took(int64_t us) {
  Size& size = *current_;
  if (candidates_.size() == 1) return;
  const auto took_us = static_cast<double>(us);
  const double usual_us = size.cost.Us(step_);
  if (size.tries_left > 0) {
    const uint32_t tries = kTries - --size.tries_left;
    size.tried += (took_us / usual_us - size.tried) / tries;
    if (size.tries_left == 0 || size.tried > kLost) EndTry(&size);
    return;
  }
  if (usual_us > 0 && took_us > usual_us * kLoadChanged) {
    size.pause = kMinPause;
    size.until_next_try = 1;
  }
  size.cost.Saw(step_, took_us);
  if (--size.until_next_try == 0) StartTry(&size);
}

void ThreadTuner::StartTry(Size* size) {
  const auto count = static_cast<uint32_t>(candidates_.size());
  do {
    size->trying = (size->trying + 1) % count;
  } while (size->trying == size->best);
  size->tries_left = kTries;
  size->tried = 0;
}

void ThreadTuner::EndTry(Size* size) {
  const bool fewer = size->trying > size->best;
  const double target = fewer ? 1 / kWorthMore : kWorthMore;
  if (size->tried < target) {
    size->best = last_best_ = size->trying;
    size->cost.Scale(size->tried);
    size->pause = kMinPause;
  } else if (size->tried > target * kMuchSlower) {
    size->pause = std::min(size->pause * 4, kMaxPause);
  } else {
    size->pause = std::max(size->pause, std::min(size->pause * 2, kMaxClosePause));
  }
  size->until_next_try = size->pause;
  size->tries_left = 0;
}

}  // namespace corpgrid::inference
