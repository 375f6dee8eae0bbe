#pragma once

#include <cstddef>
#include <deque>
#include <memory>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "agent/finished.h"

namespace corpgrid::agent {

using Batch = std::vector<std::unique_ptr<FinishedAttempt>>;

// Finished attempts on their way, handed out as many at a time as have piled up. Any thread.
class BatchQueue {
 public:
  void Push(std::unique_ptr<FinishedAttempt> finished);
  // Back to the front, in order; gaps that were sent already are skipped.
  void PutBack(Batch batch);
  // Waits for work and takes up to `max_count` of it, about `max_bytes` of log tails and outputs,
  // but at least one. Empty after Close().
  Batch Take(size_t max_count, size_t max_bytes);
  // Removes the attempt if it waits here; returns whether it did.
  bool Drop(AttemptId id);
  // Take() gives no more.
  void Close();

 private:
  absl::Mutex mutex_;
  absl::CondVar changed_;
  std::deque<std::unique_ptr<FinishedAttempt>> waiting_ ABSL_GUARDED_BY(mutex_);
  bool closed_ ABSL_GUARDED_BY(mutex_) = false;
};

}  // namespace corpgrid::agent
