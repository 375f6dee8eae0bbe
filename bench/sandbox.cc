// What the isolation of a shard costs: sessions that run a command back to back against plain
// posix_spawn of the same command from as many threads, interleaved, medians of five. usage:
// bench_sandbox [COUNT [COMMAND [ARG…]]]     ends with "ratio shard-vs-spawn R"

#include <fmt/format.h>
#include <spawn.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <functional>
#include <string>
#include <thread>
#include <vector>

#include "base/status_macros.h"
#include "runner/session.h"
#include "sandbox/unprivileged.h"

namespace corpgrid {
namespace {

constexpr int kThreads = 2;
constexpr int kRounds = 5;

// Calls of `once(thread)` a second, by all threads together.
double Rate(int count, const std::function<bool(int)>& once) {
  auto start = std::chrono::steady_clock::now();
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < count / kThreads; ++i) {
        if (once(t)) continue;
        std::fprintf(stderr, "bench_sandbox: a command failed\n");
        std::exit(1);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  std::chrono::duration<double> took = std::chrono::steady_clock::now() - start;
  const int done = count / kThreads * kThreads;
  return done / took.count();
}

bool SpawnOnce(const std::vector<std::string>& command) {
  std::vector<char*> argv;
  for (const std::string& word : command) argv.push_back(const_cast<char*>(word.c_str()));
  argv.push_back(nullptr);
  char* env[] = {nullptr};
  pid_t pid;
  int status;
  return posix_spawn(&pid, argv[0], nullptr, nullptr, argv.data(), env) == 0 &&
         waitpid(pid, &status, 0) == pid && status == 0;
}

double Median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

absl::Status Main(int count, const std::vector<std::string>& command) {
  namespace fs = std::filesystem;
  char name[] = "/tmp/corpgrid-bench-XXXXXX";
  std::string folder = mkdtemp(name);
  fs::copy(fs::read_symlink("/proc/self/exe").parent_path() / "corpgrid-runner", folder);
  RETURN_IF_ERROR(sandbox::BecomeUnprivileged(folder).status());

  std::vector<std::unique_ptr<runner::Session>> sessions;
  for (int i = 0; i < kThreads; ++i) {
    ASSIGN_OR_RETURN(auto session,
                     runner::Session::Start({.runner_path = folder + "/corpgrid-runner",
                                             .bundle_dir = "",
                                             .input_dir = "",
                                             .disk_bytes = 64 << 20,
                                             .memory_bytes = 256 << 20,
                                             .processes = 64}));
    sessions.push_back(std::move(session));
  }
  runner::ShardRequest request;
  request.argv = command;
  request.wall_ms = 60'000;
  auto spawn = [&](int) { return SpawnOnce(command); };
  auto shard = [&](int thread) {
    auto exit = sessions[thread]->Run(request);
    return exit.ok() && exit->end == runner::ShardEnd::kExited && exit->code == 0;
  };
  Rate(count / 10, spawn);
  Rate(count / 10, shard);
  std::vector<double> spawns, shards, ratios;
  for (int i = 0; i < kRounds; ++i) {
    spawns.push_back(Rate(count, spawn));
    shards.push_back(Rate(count, shard));
    ratios.push_back(shards.back() / spawns.back());
    fmt::print("round {}: spawn {:.0f}/s, shard {:.0f}/s, ratio {:.3f}\n", i + 1, spawns.back(),
               shards.back(), ratios.back());
  }
  fmt::print("spawn {:.0f}/s, shard {:.0f}/s, {} at a time\nratio shard-vs-spawn {:.3f}\n",
             Median(spawns), Median(shards), kThreads, Median(ratios));
  sessions.clear();
  std::error_code ignored;
  fs::remove_all(folder, ignored);
  return absl::OkStatus();
}

}  // namespace
}  // namespace corpgrid

int main(int argc, char** argv) {
  int count = argc > 1 ? std::atoi(argv[1]) : 4000;
  std::vector<std::string> command(argv + std::min(argc, 2), argv + argc);
  if (command.empty()) command = {"/bin/true"};
  absl::Status status = corpgrid::Main(std::max(count, 20), command);
  if (!status.ok()) std::fprintf(stderr, "bench_sandbox: %s\n", status.ToString().c_str());
  return status.ok() ? 0 : 1;
}
