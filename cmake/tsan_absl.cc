// ThreadSanitizer cannot look into the system's absl, which was built without it: two threads that
// take turns under an absl::Mutex, or wait for an absl::Notification, look like a race. These stand
// before the library's functions (the dynamic linker finds ours first), tell ThreadSanitizer what
// they order, and call them. Only the tsan preset compiles this file.
#include <dlfcn.h>
#include <sanitizer/tsan_interface.h>

#include "absl/synchronization/internal/kernel_timeout.h"
#include "absl/synchronization/mutex.h"
#include "absl/synchronization/notification.h"

#define CG_TEXT_INNER(x) #x
#define CG_TEXT(x) CG_TEXT_INNER(x)
// Debian names absl's inline namespace after its ABI.
static_assert(sizeof(CG_TEXT(ABSL_OPTION_INLINE_NAMESPACE_NAME)) == sizeof("debian3"));
#define CG_ABSL(name) "_ZN4absl7" CG_TEXT(ABSL_OPTION_INLINE_NAMESPACE_NAME) name
#define CG_LOCK CG_ABSL("5Mutex4LockEv")
#define CG_TRY_LOCK CG_ABSL("5Mutex7TryLockEv")
#define CG_UNLOCK CG_ABSL("5Mutex6UnlockEv")
#define CG_TIMEOUT "NS0_24synchronization_internal13KernelTimeoutE"
#define CG_AWAIT CG_ABSL("5Mutex11AwaitCommonERKNS0_9ConditionE" CG_TIMEOUT)
#define CG_WAIT CG_ABSL("7CondVar10WaitCommonEPNS0_5MutexE" CG_TIMEOUT)
#define CG_NOTIFY CG_ABSL("12Notification6NotifyEv")
#define CG_NOTIFIED \
  "_ZNK4absl7" CG_TEXT(ABSL_OPTION_INLINE_NAMESPACE_NAME) "12Notification19WaitForNotificationEv"

extern "C" {
void AnnotateIgnoreReadsBegin(const char* file, int line);
void AnnotateIgnoreReadsEnd(const char* file, int line);
}

namespace {

using Timeout = absl::synchronization_internal::KernelTimeout;

template <typename Function>
Function* Next(const char* name) {
  return reinterpret_cast<Function*>(dlsym(RTLD_NEXT, name));
}

// Whoever unlocks evaluates the conditions of those who wait, still under the lock, but after
// ThreadSanitizer has heard of the release.
struct IgnoreReads {
  IgnoreReads() { AnnotateIgnoreReadsBegin(__FILE__, __LINE__); }
  ~IgnoreReads() { AnnotateIgnoreReadsEnd(__FILE__, __LINE__); }
};

}  // namespace

extern "C" {

void TsanLock(absl::Mutex* mutex) __asm__(CG_LOCK);
void TsanLock(absl::Mutex* mutex) {
  static auto* const real = Next<void(absl::Mutex*)>(CG_LOCK);
  real(mutex);
  __tsan_acquire(mutex);
}

bool TsanTryLock(absl::Mutex* mutex) __asm__(CG_TRY_LOCK);
bool TsanTryLock(absl::Mutex* mutex) {
  static auto* const real = Next<bool(absl::Mutex*)>(CG_TRY_LOCK);
  const bool locked = real(mutex);
  if (locked) __tsan_acquire(mutex);
  return locked;
}

void TsanUnlock(absl::Mutex* mutex) __asm__(CG_UNLOCK);
void TsanUnlock(absl::Mutex* mutex) {
  static auto* const real = Next<void(absl::Mutex*)>(CG_UNLOCK);
  __tsan_release(mutex);
  const IgnoreReads ignore;
  real(mutex);
}

bool TsanAwait(absl::Mutex* mutex, const absl::Condition* condition,
               Timeout timeout) __asm__(CG_AWAIT);
bool TsanAwait(absl::Mutex* mutex, const absl::Condition* condition, Timeout timeout) {
  static auto* const real = Next<bool(absl::Mutex*, const absl::Condition*, Timeout)>(CG_AWAIT);
  __tsan_release(mutex);
  const bool held = [&] {
    const IgnoreReads ignore;
    return real(mutex, condition, timeout);
  }();
  __tsan_acquire(mutex);
  return held;
}

bool TsanWait(absl::CondVar* changed, absl::Mutex* mutex, Timeout timeout) __asm__(CG_WAIT);
bool TsanWait(absl::CondVar* changed, absl::Mutex* mutex, Timeout timeout) {
  static auto* const real = Next<bool(absl::CondVar*, absl::Mutex*, Timeout)>(CG_WAIT);
  __tsan_release(mutex);
  const bool timed_out = [&] {
    const IgnoreReads ignore;
    return real(changed, mutex, timeout);
  }();
  __tsan_acquire(mutex);
  return timed_out;
}

// Whoever comes late sees by an atomic alone that it was notified, and takes no lock.
void TsanNotify(absl::Notification* notification) __asm__(CG_NOTIFY);
void TsanNotify(absl::Notification* notification) {
  static auto* const real = Next<void(absl::Notification*)>(CG_NOTIFY);
  __tsan_release(notification);
  real(notification);
}

void TsanNotified(const absl::Notification* notification) __asm__(CG_NOTIFIED);
void TsanNotified(const absl::Notification* notification) {
  static auto* const real = Next<void(const absl::Notification*)>(CG_NOTIFIED);
  real(notification);
  __tsan_acquire(const_cast<absl::Notification*>(notification));
}

}  // extern "C"
