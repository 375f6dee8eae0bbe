#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <map>
#include <optional>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "corpgrid/v1/hosting.pb.h"

namespace corpgrid::agent {

// What the calls of a stream send up, on its way to the thread that writes it, so that no worker's
// answer waits for another's. Any thread.
class Outbox {
 public:
  // Of answers that the stream has not taken yet; as the scheduler has it for those down to
  // clients.
  static constexpr size_t kMaxWaitingBytes = size_t{64} << 20;

  void Put(corpgrid::v1::RelayUp up);

  // Whether there is no room for more and the call has its share of what waits: others go on.
  bool IsFullFor(uint64_t call) const;

  // The next one, once there is one; nothing after Close().
  std::optional<corpgrid::v1::RelayUp> Take();
  void Close();

 private:
  bool HasSomething() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    return closed_ || !waiting_.empty();
  }

  mutable absl::Mutex mutex_;
  std::deque<corpgrid::v1::RelayUp> waiting_ ABSL_GUARDED_BY(mutex_);
  size_t bytes_ ABSL_GUARDED_BY(mutex_) = 0;                     // of responses in it
  std::map<uint64_t, size_t> bytes_of_ ABSL_GUARDED_BY(mutex_);  // by call
  bool closed_ ABSL_GUARDED_BY(mutex_) = false;
};

}  // namespace corpgrid::agent
