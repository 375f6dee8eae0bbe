#include "agent/batch_queue.h"

#include <utility>

namespace corpgrid::agent {
namespace {

size_t Bytes(const FinishedAttempt& finished) {
  size_t bytes = finished.stdout_tail.size() + finished.stderr_tail.size();
  for (const CollectedOutput& output : finished.outputs) bytes += output.output.size_bytes;
  return bytes;
}

}  // namespace

void BatchQueue::Push(std::unique_ptr<FinishedAttempt> finished) {
  absl::MutexLock lock(&mutex_);
  waiting_.push_back(std::move(finished));
  changed_.Signal();
}

void BatchQueue::PutBack(Batch batch) {
  absl::MutexLock lock(&mutex_);
  for (auto it = batch.rbegin(); it != batch.rend(); ++it) {
    if (*it != nullptr) waiting_.push_front(std::move(*it));
  }
}

Batch BatchQueue::Take(size_t max_count, size_t max_bytes) {
  absl::MutexLock lock(&mutex_);
  while (waiting_.empty() && !closed_) changed_.Wait(&mutex_);
  Batch batch;
  size_t bytes = 0;
  while (!closed_ && !waiting_.empty() && batch.size() < max_count) {
    bytes += Bytes(*waiting_.front());
    if (!batch.empty() && bytes > max_bytes) break;
    batch.push_back(std::move(waiting_.front()));
    waiting_.pop_front();
  }
  return batch;
}

bool BatchQueue::Drop(AttemptId id) {
  absl::MutexLock lock(&mutex_);
  return std::erase_if(waiting_, [id](const auto& item) { return item->attempt.id == id; }) > 0;
}

void BatchQueue::Close() {
  absl::MutexLock lock(&mutex_);
  closed_ = true;
  changed_.SignalAll();
}

}  // namespace corpgrid::agent
