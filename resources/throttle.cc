#include "resources/throttle.h"

#include <algorithm>
#include <cmath>
#include <utility>

namespace corpgrid::resources {
namespace {

constexpr double kLeastShare = 0.1;

// What of the rate is left at this load: all up to the limit, then less and less.
double ShareAt(uint32_t load, uint32_t limit) {
  if (load <= limit) return 1;
  return std::max(kLeastShare, (100.0 - load) / (100.0 - limit));
}

}  // namespace

int64_t Throttle::DistanceUs() const {
  const std::optional<uint32_t> load = options_.load ? options_.load() : std::nullopt;
  const double share = load ? ShareAt(std::min(*load, 100u), options_.load_percent) : 1;
  return std::max<int64_t>(1, std::llround(1e6 / (options_.per_second * share)));
}

Throttle::Slot Throttle::Reserve() {
  const int64_t now_us = options_.clock->MonotonicUs();
  if (options_.per_second <= 0) return {.begins_us = now_us, .wait_us = 0};
  const int64_t distance_us = DistanceUs();  // may ask a driver: not under the lock
  const absl::MutexLock lock(&mutex_);
  returned_.erase(returned_.begin(), returned_.lower_bound(now_us));
  int64_t begins_us = std::max(now_us, next_us_);
  if (!returned_.empty() && *returned_.begin() < begins_us) {
    begins_us = *returned_.begin();
    returned_.erase(returned_.begin());
  } else {
    next_us_ = begins_us + distance_us;
  }
  return {.begins_us = begins_us, .wait_us = begins_us - now_us};
}

void Throttle::GiveBack(const Slot& slot) {
  if (options_.per_second <= 0) return;
  const absl::MutexLock lock(&mutex_);
  returned_.insert(slot.begins_us);
}

std::optional<uint32_t> CachedLoad::Percent() {
  const absl::MutexLock lock(&mutex_);
  const int64_t now_ms = clock_->MonotonicMs();
  if (!read_ms_ || now_ms - *read_ms_ >= kKeptMs) {
    percent_ = read_();
    read_ms_ = now_ms;
  }
  return percent_;
}

}  // namespace corpgrid::resources
