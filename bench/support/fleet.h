#pragma once

#include <grpcpp/grpcpp.h>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/synchronization/mutex.h"
#include "corpgrid/v1/scheduler.grpc.pb.h"
#include "crypto/signature.h"
#include "fmt/format.h"
#include "rpc/connect.h"
#include "rpc/registration.h"

// Devices that exist for a benchmark: identities of their own, few machines.
namespace corpgrid::bench {

using Clock = std::chrono::steady_clock;
using SchedulerStub = corpgrid::v1::Scheduler::Stub;

inline constexpr int64_t kCallMs = 30'000;
inline constexpr int kThreads = 64;

[[noreturn]] inline void Die(const std::string& why) {
  fmt::print(stderr, "the benchmark's devices: {}\n", why);
  std::exit(1);
}

// As `corpgrid` does: Debian's absl looks for lock cycles at every lock otherwise.
inline void LookForNoLockCycles() {
  absl::SetMutexDeadlockDetectionMode(absl::OnDeadlockCycle::kIgnore);
}

inline double SecondsSince(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

inline std::unique_ptr<SchedulerStub> NewConnection(const std::string& address, size_t number) {
  grpc::ChannelArguments arguments;
  arguments.SetInt("bench.connection", static_cast<int>(number));  // else channels share one
  return corpgrid::v1::Scheduler::NewStub(
      grpc::CreateCustomChannel(address, grpc::InsecureChannelCredentials(), arguments));
}

// Makes a new device known, whose key is `key`.
inline corpgrid::v1::RegisterAgentResponse Register(SchedulerStub* stub, const std::string& token,
                                                    const crypto::KeyPair& key, size_t number) {
  corpgrid::v1::RegisterAgentRequest request;
  request.set_public_key(std::string(key.public_key().Raw()));
  request.mutable_info()->set_name(fmt::format("desktop-{:06}", number));
  request.mutable_info()->set_site(fmt::format("site-{}", number % 100));
  request.mutable_info()->set_version("0.1.0");
  request.mutable_info()->set_cpus(8);
  request.mutable_info()->set_memory_bytes(16ull << 30);
  request.mutable_info()->add_backends("cpu");
  request.set_join_token(token);
  request.set_signature(key.Sign(rpc::RegistrationStatement(request)));
  request.mutable_condition()->set_source(corpgrid::v1::Condition::MAINS);
  corpgrid::v1::RegisterAgentResponse reply;
  grpc::ClientContext context;
  rpc::PrepareCall(&context, kCallMs, rpc::kSessionKey, "");
  const grpc::Status status = stub->RegisterAgent(&context, request, &reply);
  if (!status.ok()) Die("cannot register: " + status.error_message());
  return reply;
}

// Runs `work(i)` for each i below `count`, on kThreads threads.
template <typename Work>
void ForEach(size_t count, Work work) {
  std::atomic<size_t> next = 0;
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&] {
      for (size_t i = next++; i < count; i = next++) work(i);
    });
  }
  for (std::thread& thread : threads) thread.join();
}

// Says how many devices joined, and how long it took, as whoever measures expects to read it.
inline void PrintRegistered(size_t devices, Clock::time_point start) {
  fmt::print("{{\"registered\": {}, \"seconds\": {:.3f}}}\n", devices, SecondsSince(start));
  std::fflush(stdout);
}

}  // namespace corpgrid::bench
