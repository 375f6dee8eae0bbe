// The physical limit of `./dev bench exec`: how often this machine starts and reaps a command,
// without any isolation. usage: bench_spawn THREADS COUNT COMMAND [ARG…]     prints the starts per
// second

#include <spawn.h>
#include <sys/wait.h>

#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <thread>
#include <vector>

int main(int argc, char** argv) {
  if (argc < 4) {
    std::fprintf(stderr, "usage: bench_spawn THREADS COUNT COMMAND [ARG...]\n");
    return 2;
  }
  const int threads = std::atoi(argv[1]);
  const int count = std::atoi(argv[2]);
  char* const environment[] = {nullptr};
  std::atomic<int> next = 0;
  std::atomic<int> failed = 0;
  const auto work = [&] {
    while (next++ < count) {
      pid_t child = 0;
      int status = 0;
      if (posix_spawn(&child, argv[3], nullptr, nullptr, argv + 3, environment) != 0 ||
          waitpid(child, &status, 0) != child || status != 0) {
        ++failed;
      }
    }
  };
  const auto start = std::chrono::steady_clock::now();
  std::vector<std::thread> workers;
  for (int i = 0; i < threads; ++i) workers.emplace_back(work);
  for (std::thread& worker : workers) worker.join();
  const std::chrono::duration<double> took = std::chrono::steady_clock::now() - start;
  if (failed > 0) {
    std::fprintf(stderr, "bench_spawn: %d of %d commands failed\n", failed.load(), count);
    return 1;
  }
  std::printf("%.1f\n", count / took.count());
}
