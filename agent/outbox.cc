#include "agent/outbox.h"

#include <utility>

namespace corpgrid::agent {

namespace pb = corpgrid::v1;

void Outbox::Put(pb::RelayUp up) {
  const absl::MutexLock lock(&mutex_);
  if (closed_) return;
  if (const size_t bytes = up.response().size(); bytes > 0) {
    bytes_ += bytes;
    bytes_of_[up.call()] += bytes;
  }
  waiting_.push_back(std::move(up));
}

bool Outbox::IsFullFor(uint64_t call) const {
  const absl::MutexLock lock(&mutex_);
  const auto own = bytes_of_.find(call);
  return bytes_ > kMaxWaitingBytes && own != bytes_of_.end() &&
         own->second >= bytes_ / bytes_of_.size();
}

std::optional<pb::RelayUp> Outbox::Take() {
  const absl::MutexLock lock(&mutex_);
  mutex_.Await(absl::Condition(this, &Outbox::HasSomething));
  if (closed_) return std::nullopt;
  pb::RelayUp up = std::move(waiting_.front());
  waiting_.pop_front();
  if (const size_t bytes = up.response().size(); bytes > 0) {
    bytes_ -= bytes;
    const auto own = bytes_of_.find(up.call());
    own->second -= bytes;
    if (own->second == 0) bytes_of_.erase(own);
  }
  return up;
}

void Outbox::Close() {
  const absl::MutexLock lock(&mutex_);
  closed_ = true;
}

}  // namespace corpgrid::agent
