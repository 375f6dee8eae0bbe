#include "objects/group_commit.h"

#include <algorithm>

#include "base/status_macros.h"

namespace corpgrid::objects {

absl::Status GroupCommit::Run(const Work& work) {
  Call call{.work = &work, .done = false, .status = {}, .wake = {}};
  std::unique_lock lock(mutex_);
  waiting_.push_back(&call);
  while (!call.done) {
    if (leading_) {
      call.wake.wait(lock);
    } else {
      Lead(&lock);
    }
  }
  return call.status;
}

void GroupCommit::Lead(std::unique_lock<std::mutex>* lock) {
  leading_ = true;
  const auto end =
      waiting_.begin() + static_cast<std::ptrdiff_t>(std::min(waiting_.size(), kMaxCalls));
  const std::vector<Call*> calls(waiting_.begin(), end);
  waiting_.erase(waiting_.begin(), end);
  lock->unlock();
  Commit(calls);
  lock->lock();
  leading_ = false;
  // Under the lock: a call lives on its caller's stack and is gone once that caller wakes up.
  for (Call* call : calls) {
    call->done = true;
    call->wake.notify_one();
  }
  if (!waiting_.empty()) waiting_.front()->wake.notify_one();
}

void GroupCommit::Commit(const std::vector<Call*>& calls) {
  const absl::Status together = db_.Transaction([&]() -> absl::Status {
    for (const Call* call : calls) RETURN_IF_ERROR((*call->work)(db_));
    return absl::OkStatus();
  });
  for (Call* call : calls) {
    call->status = together.ok() || calls.size() == 1
                       ? together
                       : db_.Transaction([&] { return (*call->work)(db_); });
  }
}

}  // namespace corpgrid::objects
