#include "rpc/dispose.h"

#include <deque>
#include <thread>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"

namespace corpgrid::rpc {
namespace {

class Disposer {
 public:
  Disposer() {
    std::thread([this] { Run(); }).detach();
  }

  void Take(std::shared_ptr<void> object) {
    const absl::MutexLock lock(&mutex_);
    objects_.push_back(std::move(object));
  }

 private:
  bool HasSome() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return !objects_.empty(); }

  [[noreturn]] void Run() {
    while (true) {
      std::deque<std::shared_ptr<void>> going;  // with each turn's end, and without the lock
      const absl::MutexLock lock(&mutex_);
      mutex_.Await(absl::Condition(this, &Disposer::HasSome));
      going.swap(objects_);
    }
  }

  absl::Mutex mutex_;
  std::deque<std::shared_ptr<void>> objects_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace

void DisposeElsewhere(std::shared_ptr<void> object) {
  static auto* const disposer = new Disposer;  // lives as long as the process
  disposer->Take(std::move(object));
}

}  // namespace corpgrid::rpc
