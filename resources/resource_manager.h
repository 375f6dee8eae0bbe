#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "base/clock.h"
#include "resources/limits.h"
#include "resources/throttle.h"

namespace corpgrid::resources {

// Keeps what jobs and models take of a device within what its owner lends, and counts it. Any
// thread.
class ResourceManager {
 public:
  struct Options {
    Limits limits;
    uint64_t memory_bytes = 0;  // the device's
    LoadFunction load;          // how busy what computes is; asked at most four times a second
    const Clock* clock = nullptr;
  };

  enum class Kind : uint8_t { kJob, kModel };

  // A shard that is to run, or a call for an answer. The figures are of the memory that models and
  // shards are in: a GPU's or, without one, the machine's.
  struct Request {
    Kind kind = Kind::kJob;
    std::string id;                // for logs
    uint64_t estimated_bytes = 0;  // that it needs
    uint64_t available_bytes = 0;  // for it
  };

  explicit ResourceManager(Options options);
  ~ResourceManager();

  const Limits& limits() const { return options_.limits; }
  uint64_t device_bytes() const { return options_.memory_bytes; }
  // What all may have together.
  uint64_t memory_bytes() const {
    return PercentOf(options_.memory_bytes, options_.limits.memory_percent);
  }

  // Lowers the calling thread, and what it starts, to the priority that the owner lends; where that
  // fails, a warning tells that `who` ("workers") runs as others do.
  void LowerThisThread(std::string_view who) const;

  // When the request may begin. It waits until then by itself, and tells by Began(), or by
  // GiveBack() when it does not want to any more.
  Throttle::Slot Reserve(const Request& request);
  void Began(const Request& request, const Throttle::Slot& slot);
  void GiveBack(const Throttle::Slot& slot) { throttle_.GiveBack(slot); }

  // The same for who may wait: returns when it may begin, or Cancelled once `cancelled`, which is
  // asked again and again, says so.
  absl::Status Await(const Request& request, const std::function<bool()>& cancelled);

  // It was refused, or ended, because it needs more memory than there is for it.
  void NoteRefusal(const Request& request);

  // All counts, in the text form that Prometheus reads.
  std::string MetricsText() const;

 private:
  struct Metrics;

  const Options options_;
  CachedLoad load_;
  Throttle throttle_;
  const std::unique_ptr<Metrics> metrics_;
};

}  // namespace corpgrid::resources
