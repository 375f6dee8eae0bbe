#include "agent/capacity.h"

#include <algorithm>

namespace corpgrid::agent {
namespace {

constexpr absl::Duration kAskAgain = absl::Milliseconds(50);

}  // namespace

Capacity::Share Capacity::Take(Amount wanted, const std::function<bool()>& cancelled) {
  absl::MutexLock lock(&mutex_);
  waiting_.push_back(&wanted);
  const auto fits = [&]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    return shares_ == 0 || (wanted.cpus <= free_.cpus && wanted.memory_bytes <= free_.memory_bytes);
  };
  bool given_up = false;
  while (!given_up && (waiting_.front() != &wanted || !fits())) {
    changed_.WaitWithTimeout(&mutex_, kAskAgain);
    given_up = cancelled();
  }
  std::erase(waiting_, &wanted);
  changed_.SignalAll();
  if (given_up) return {};
  // What exceeds the whole runs alone and takes all.
  const Amount taken = {std::min(wanted.cpus, free_.cpus),
                        std::min(wanted.memory_bytes, free_.memory_bytes)};
  free_.cpus -= taken.cpus;
  free_.memory_bytes -= taken.memory_bytes;
  ++shares_;
  return Share(this, taken);
}

void Capacity::Release(Amount amount) {
  absl::MutexLock lock(&mutex_);
  free_.cpus += amount.cpus;
  free_.memory_bytes += amount.memory_bytes;
  --shares_;
  changed_.SignalAll();
}

}  // namespace corpgrid::agent
