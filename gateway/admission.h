#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <string_view>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "base/clock.h"
#include "gateway/api_keys.h"

namespace corpgrid::gateway {

// Lets requests in by their keys, as many as these allow. Who shows no key gets nothing. Any
// thread.
class Admission {
 public:
  // Both must outlive it.
  Admission(const KeyDirectory* keys, const Clock* clock) : keys_(keys), clock_(clock) {}

  // A request that was let in; it counts as running until this goes. Must not outlive the
  // Admission. One thread at a time.
  class Ticket {
   public:
    Ticket(Admission* admission, ApiKey key) : admission_(admission), key_(std::move(key)) {}
    Ticket(const Ticket&) = delete;
    ~Ticket() { admission_->Leave(key_); }

    const ApiKey& key() const { return key_; }
    // Errors: PermissionDenied.
    absl::Status CheckModel(std::string_view model) const;
    // The request took so many tokens.
    void Charge(uint64_t tokens) { admission_->Charge(key_, tokens); }

   private:
    Admission* const admission_;
    const ApiKey key_;
  };

  // Whose key the header "Bearer KEY" has. Errors: Unauthenticated.
  absl::StatusOr<ApiKey> FindKey(std::string_view authorization) const;

  // `authorization`: the header, "Bearer KEY". Errors: Unauthenticated; ResourceExhausted with a
  // RetryAfter() when the key has had what it may at the moment.
  absl::StatusOr<std::unique_ptr<Ticket>> Enter(std::string_view authorization);

 private:
  // What a key has used. A bucket that fills by `tokens_per_minute`, and holds no more than those:
  // a request may start while there is something in it, and takes what it turns out to need. A key
  // without a limit has none, and owes nothing when it gets one.
  struct Use {
    uint32_t running = 0;
    double tokens = 0;  // in the bucket; below 0: owed
    double most = 0;    // that it held then; 0: there was none
    int64_t as_of_ms = 0;
  };

  // Keys that nobody used for a while are forgotten when there are more than these.
  static constexpr size_t kMaxUses = 10'000;

  void Leave(const ApiKey& key);
  void Charge(const ApiKey& key, uint64_t tokens);
  absl::Status CheckUse(const ApiKey& key) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  Use& Refilled(const ApiKey& key) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const KeyDirectory* const keys_;
  const Clock* const clock_;
  absl::Mutex mutex_;
  std::map<crypto::Hash, Use> uses_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace corpgrid::gateway
