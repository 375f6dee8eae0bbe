#pragma once

#include <cstdint>
#include <functional>
#include <string_view>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "agent/batch_queue.h"
#include "agent/journal.h"
#include "agent/lease_queue.h"
#include "agent/scheduler_client.h"
#include "agent/stop_signal.h"
#include "crypto/signature.h"

namespace corpgrid::agent {

// Hands finished attempts in: stages their outputs, signs their results, submits them. Each of
// three lanes (large outputs, small outputs, results) is a thread that sends all it has as soon as
// its previous call has returned; what comes meanwhile is the next batch. Nothing is given up until
// the scheduler has judged it or wants it no longer. Any thread.
class Submitter {
 public:
  static constexpr size_t kMaxBatch = 64;
  // Of log tails and outputs in a call, so that large outputs do not wait for each other.
  static constexpr size_t kMaxBatchBytes = 2 << 20;
  // A lane sends at most every so often, so that in a stream of short shards the cost of a call and
  // of its commit is shared. A result that comes alone goes at once.
  static constexpr int64_t kPaceMs = 10;

  // All pointers must outlive the submitter. An attempt whose verdict is known leaves `leases` and
  // `journal`. `abort` ends the lanes' waits and calls; the destructor sets it.
  Submitter(SchedulerClient* scheduler, const crypto::KeyPair* key, LeaseQueue* leases,
            const Journal* journal, StopSignal* abort);
  ~Submitter();
  Submitter(const Submitter&) = delete;
  Submitter& operator=(const Submitter&) = delete;

  void Add(FinishedAttempt finished);

  // The scheduler wants this attempt no longer.
  void Drop(AttemptId id);

  // Waits up to `ms` until everything is handed in; returns whether it is.
  bool Drain(int64_t ms);

 private:
  // Sends a batch and passes on or ends what it took over; on an error the rest stays in it.
  using Send = std::function<absl::Status(Batch*)>;
  // What becomes of an attempt that was refused by itself.
  using Refuse = std::function<void(std::unique_ptr<FinishedAttempt>, const absl::Status&)>;

  void RunLane(std::string_view what, BatchQueue* lane, const Send& send, const Refuse& refuse);
  void RunStaging(BatchQueue* lane);
  void RunSubmitting();
  absl::Status Stage(Batch* batch);
  absl::Status Submit(Batch* batch);
  // All results of `batch`, signed together where the scheduler takes that.
  corpgrid::v1::SubmitResultRequest Sign(const Batch& batch,
                                         const Registration& registration) const;
  void End(AttemptId id);

  SchedulerClient* const scheduler_;
  const crypto::KeyPair* const key_;
  LeaseQueue* const leases_;
  const Journal* const journal_;
  StopSignal* const abort_;
  BatchQueue large_;
  BatchQueue small_;
  BatchQueue results_;
  absl::Mutex mutex_;
  absl::CondVar drained_;
  size_t pending_ ABSL_GUARDED_BY(mutex_) = 0;
  std::vector<std::thread> threads_;
};

}  // namespace corpgrid::agent
