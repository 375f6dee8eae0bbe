#pragma once

#include <condition_variable>
#include <functional>
#include <mutex>
#include <vector>

#include "absl/status/status.h"
#include "base/sqlite.h"

namespace corpgrid::objects {

// Lets concurrent callers share durable commits: a commit costs a disk flush whether it holds one
// change or a hundred. Whoever comes while nobody commits leads: it runs what is waiting in one
// transaction on its own thread; what arrives meanwhile waits for the next leader. Any thread.
class GroupCommit {
 public:
  // Takes the connection that all writing goes through.
  explicit GroupCommit(sqlite::Database db) : db_(std::move(db)) {}

  using Work = std::function<absl::Status(sqlite::Database&)>;

  // Runs `work`, alone on the connection, and returns when it is durable. An error of one caller's
  // work does not touch the others': `work` may then run a second time, in a transaction of its
  // own, so it must set its results and not add to them.
  absl::Status Run(const Work& work);

 private:
  static constexpr size_t kMaxCalls = 256;  // in one transaction

  struct Call {
    const Work* work;
    bool done = false;
    absl::Status status;
    std::condition_variable wake;
  };

  void Lead(std::unique_lock<std::mutex>* lock);
  void Commit(const std::vector<Call*>& calls);

  sqlite::Database db_;  // the leader's
  std::mutex mutex_;
  bool leading_ = false;
  std::vector<Call*> waiting_;
};

}  // namespace corpgrid::objects
