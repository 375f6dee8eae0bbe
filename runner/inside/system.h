#pragma once

#include <cerrno>
#include <cstdint>
#include <string>

namespace corpgrid::runner::inside {

// System calls that return -errno and touch nothing else. The runner and the init of a shard run at
// the same time in one memory, with one thread-local storage, hence with one `errno`.
inline long Sys(long number, long a = 0, long b = 0, long c = 0, long d = 0, long e = 0,
                long f = 0) {
#if defined(__x86_64__)
  register long r10 asm("r10") = d;
  register long r8 asm("r8") = e;
  register long r9 asm("r9") = f;
  long result;
  asm volatile("syscall"
               : "=a"(result)
               : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
               : "rcx", "r11", "memory");
  return result;
#elif defined(__aarch64__)
  register long x8 asm("x8") = number;
  register long x0 asm("x0") = a;
  register long x1 asm("x1") = b;
  register long x2 asm("x2") = c;
  register long x3 asm("x3") = d;
  register long x4 asm("x4") = e;
  register long x5 asm("x5") = f;
  asm volatile("svc 0"
               : "+r"(x0)
               : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4), "r"(x5)
               : "memory");
  return x0;
#else
#error "corpgrid-runner knows the system calls of x86-64 and arm64 only"
#endif
}

template <typename T>
long Word(T* pointer) {
  return reinterpret_cast<long>(pointer);
}

int64_t NowUs();

// Moves stderr to where shards have it not, for Die(), which writes the host a last line there.
void KeepComplaints();

// Ends the runner, and so the sandbox. `error` is an errno, 0 when `what` says it all.
[[noreturn]] void Die(const std::string& what, int error = errno);

inline void Require(bool ok, const char* what) {
  if (!ok) Die(what);
}

}  // namespace corpgrid::runner::inside
