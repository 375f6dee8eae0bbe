#pragma once

#include <cstdint>
#include <deque>
#include <functional>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"

namespace corpgrid::agent {

// What the shards of a device may use together, shared out in the order in which they ask: a large
// shard is not starved by small ones. Any thread.
class Capacity {
 public:
  struct Amount {
    uint32_t cpus = 0;
    uint64_t memory_bytes = 0;
  };

  explicit Capacity(Amount all) : free_(all) {}

  // A part of it, given back when it goes.
  class Share {
   public:
    Share() = default;
    Share(Share&& other) noexcept : owner_(other.owner_), amount_(other.amount_) {
      other.owner_ = nullptr;
    }
    Share& operator=(Share&&) = delete;
    ~Share() {
      if (owner_ != nullptr) owner_->Release(amount_);
    }
    explicit operator bool() const { return owner_ != nullptr; }

   private:
    friend class Capacity;
    Share(Capacity* owner, Amount amount) : owner_(owner), amount_(amount) {}
    Capacity* owner_ = nullptr;
    Amount amount_;
  };

  // Waits until `wanted` is free, or, for more than there is, until nothing else is in use. Empty
  // when `cancelled` says so, which is asked again and again.
  Share Take(Amount wanted, const std::function<bool()>& cancelled);

  uint64_t FreeMemory() const {
    const absl::MutexLock lock(&mutex_);
    return free_.memory_bytes;
  }

 private:
  void Release(Amount amount);

  mutable absl::Mutex mutex_;
  absl::CondVar changed_;
  Amount free_ ABSL_GUARDED_BY(mutex_);
  uint32_t shares_ ABSL_GUARDED_BY(mutex_) = 0;
  std::deque<const Amount*> waiting_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace corpgrid::agent
