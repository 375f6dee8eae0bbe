// A fleet of devices without anything to run, for `./dev bench heartbeats`: identities of their
// own, few machines. Prints one JSON object a line. usage: bench_fleet heartbeats ADDRESS TOKEN
// DEVICES PERIOD_MS SECONDS   over 8 connections
//        bench_fleet polls ADDRESS TOKEN DEVICES SECONDS                  a connection for each

#include "bench/support/fleet.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "rpc/connect.h"

namespace corpgrid::bench {
namespace {

namespace pb = corpgrid::v1;
constexpr size_t kConnections = 8;

std::vector<std::string> RegisterAll(const std::vector<std::unique_ptr<pb::Scheduler::Stub>>& stubs,
                                     const std::string& token, size_t devices) {
  const auto start = Clock::now();
  std::vector<std::string> sessions(devices);
  ForEach(devices, [&](size_t i) {
    sessions[i] =
        Register(stubs[i % stubs.size()].get(), token, crypto::KeyPair::Generate(), i).session();
  });
  PrintRegistered(devices, start);
  return sessions;
}

// Each device once in a period, evenly; what is late is sent at once.
void Heartbeats(const std::string& address, const std::string& token, size_t devices,
                int64_t period_ms, double seconds) {
  std::vector<std::unique_ptr<pb::Scheduler::Stub>> stubs;
  for (size_t i = 0; i < kConnections; ++i) stubs.push_back(NewConnection(address, i));
  const std::vector<std::string> sessions = RegisterAll(stubs, token, devices);
  const auto start = Clock::now();
  const double rate = static_cast<double>(devices) * 1000 / static_cast<double>(period_ms);
  const auto count = static_cast<size_t>(rate * seconds);
  std::vector<double> late(count);
  ForEach(count, [&](size_t i) {
    const auto due = start + std::chrono::duration_cast<Clock::duration>(
                                 std::chrono::duration<double>(static_cast<double>(i) / rate));
    std::this_thread::sleep_until(due);
    pb::HeartbeatRequest request;
    request.mutable_condition()->set_source(pb::Condition::MAINS);
    pb::HeartbeatResponse reply;
    grpc::ClientContext context;
    rpc::PrepareCall(&context, kCallMs, rpc::kSessionKey, sessions[i % devices]);
    const grpc::Status status = stubs[i % stubs.size()]->Heartbeat(&context, request, &reply);
    if (!status.ok()) Die("heartbeat: " + status.error_message());
    late[i] = SecondsSince(due);
  });
  const double took = SecondsSince(start);
  std::sort(late.begin(), late.end());
  fmt::print("{{\"heartbeats\": {}, \"seconds\": {:.3f}, \"p99_ms\": {:.2f}}}\n", count, took,
             late[count * 99 / 100] * 1000);
}

// A connection and a pending poll for each device, held for `seconds`.
void Polls(const std::string& address, const std::string& token, size_t devices, double seconds) {
  struct Pending {
    grpc::ClientContext context;
    pb::PollJobsRequest request;
    pb::PollJobsResponse reply;
  };
  std::vector<std::unique_ptr<pb::Scheduler::Stub>> stubs(devices);
  for (size_t i = 0; i < devices; ++i) stubs[i] = NewConnection(address, i);
  const std::vector<std::string> sessions = RegisterAll(stubs, token, devices);
  std::vector<Pending> polls(devices);
  std::atomic<size_t> ended = 0;
  for (size_t i = 0; i < devices; ++i) {
    polls[i].request.set_max_shards(1);
    polls[i].request.set_wait_ms(60'000);
    rpc::PrepareCall(&polls[i].context, 120'000, rpc::kSessionKey, sessions[i]);
    stubs[i]->async()->PollJobs(&polls[i].context, &polls[i].request, &polls[i].reply,
                                [&](const grpc::Status&) { ++ended; });
  }
  std::this_thread::sleep_for(std::chrono::duration<double>(seconds));
  fmt::print("{{\"pending\": {}}}\n", devices - ended);
  std::fflush(stdout);
  for (Pending& poll : polls) poll.context.TryCancel();
  while (ended < devices) std::this_thread::sleep_for(std::chrono::milliseconds(10));
}

int Main(int argc, char** argv) {
  LookForNoLockCycles();
  if (argc == 7 && std::strcmp(argv[1], "heartbeats") == 0) {
    Heartbeats(argv[2], argv[3], std::strtoul(argv[4], nullptr, 10), std::atoi(argv[5]),
               std::atof(argv[6]));
    return 0;
  }
  if (argc == 6 && std::strcmp(argv[1], "polls") == 0) {
    Polls(argv[2], argv[3], std::strtoul(argv[4], nullptr, 10), std::atof(argv[5]));
    return 0;
  }
  fmt::print(stderr,
             "usage: bench_fleet heartbeats ADDRESS TOKEN DEVICES PERIOD_MS SECONDS\n"
             "       bench_fleet polls ADDRESS TOKEN DEVICES SECONDS\n");
  return 2;
}

}  // namespace
}  // namespace corpgrid::bench

int main(int argc, char** argv) { return corpgrid::bench::Main(argc, argv); }
