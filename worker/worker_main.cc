// corpgrid-worker: hosts one model on a Unix socket. A process of its own, because an inference
// library that is not content ends its process; and linked with a C library of its own where the
// system's is too old for that library (docs/decisions/0020).

#include <fmt/format.h>
#include <grpcpp/server_builder.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <vector>

#include "CLI/CLI.hpp"
#include "absl/synchronization/mutex.h"
#include "base/status_macros.h"
#include "inference/llama/library.h"
#include "platform/confine.h"
#include "rpc/connect.h"
#include "worker/confinement.h"
#include "worker/load_model.h"
#include "worker/service.h"
#include "worker/tools.h"

namespace corpgrid::worker {
namespace {

// Turns that a compute thread waits for the others before it sleeps.
constexpr char kSpins[] = "20000";

// How the compute threads wait for each other, and that large pieces of memory ask for large pages,
// is read when the libraries start: to set it, the program starts itself again.
void SetEnvironment(char** argv) {
  constexpr char kDone[] = "CORPGRID_WORKER_ENVIRONMENT";
  if (std::getenv(kDone)) return;
  setenv(kDone, "set", 1);
  if (!std::getenv("OMP_WAIT_POLICY")) setenv("GOMP_SPINCOUNT", kSpins, 0);
  // What files are read through goes back to the system when it is freed, too.
  setenv("GLIBC_TUNABLES",
         "glibc.malloc.hugetlb=1:glibc.malloc.arena_max=2:glibc.malloc.mmap_threshold=4194304:"
         "glibc.malloc.trim_threshold=4194304",
         0);
  execv("/proc/self/exe", argv);
}

int Fail(const std::string& message) {
  std::fprintf(stderr, "corpgrid-worker: %s\n", message.c_str());
  return 1;
}

int Serve(const std::string& socket) {
  sockaddr_un address;
  if (socket.size() >= sizeof address.sun_path) {
    return Fail(fmt::format("the socket's path has {} bytes; at most {} are possible",
                            socket.size(), sizeof address.sun_path - 1));
  }
  sigset_t stop;
  sigemptyset(&stop);
  for (const int signal : {SIGTERM, SIGINT}) sigaddset(&stop, signal);
  pthread_sigmask(SIG_BLOCK, &stop, nullptr);
  umask(0177);  // the socket is its owner's

  WorkerService service(LoadModel, &SystemClock());
  grpc::ServerBuilder builder;
  builder.AddListeningPort("unix:" + socket, grpc::InsecureServerCredentials());
  builder.RegisterService(&service);
  builder.SetMaxReceiveMessageSize(rpc::kMaxMessageBytes);
  const std::unique_ptr<grpc::Server> server = builder.BuildAndStart();
  if (!server) return Fail(fmt::format("cannot listen on {}", socket));
  std::printf("ready\n");
  std::fflush(stdout);
  int signal = 0;
  sigwait(&stop, &signal);
  service.Stop();
  server->Shutdown(std::chrono::system_clock::now());
  unlink(socket.c_str());
  return 0;
}

int Main(int argc, char** argv) {
  SetEnvironment(argv);
  CLI::App app("Hosts a model for the agent that started it. It says \"ready\" when it listens.",
               "corpgrid-worker");
  std::string socket;
  std::function<int()> tool;
  app.add_option("--socket", socket, "Unix socket to listen on");
  std::vector<std::string> models;
  app.add_option("--read", models, "Folder of models, of which it reads no others; again for more")
      ->allow_extra_args(false);
  bool uses_gpus = false;
  app.add_flag("--gpus", uses_gpus, "Models may be loaded into a GPU's memory");
  AddTools(&app, &tool);
  CLI11_PARSE(app, argc, argv);
  if (socket.empty() && !tool) return Fail("--socket is required");
  if (const absl::Status alone = platform::ConfineSockets(); !alone.ok()) {
    return Fail(std::string(alone.message()));
  }
  uses_gpus = uses_gpus || app.got_subcommand("gpus");
  if (uses_gpus) inference::UseGpus();
  if (const absl::Status status = inference::PrepareLibrary(); !status.ok()) {
    return Fail(std::string(status.message()));
  }
  if (tool) return tool();  // those that read a model file confine themselves to it
  if (models.empty()) return Serve(socket);
  std::vector<std::string> write = {std::filesystem::path(socket).parent_path().string()};
  if (uses_gpus) {
    for (std::string& file : GpuFiles()) write.push_back(std::move(file));
  }
  const absl::Status confined = ConfineFiles(models, write);
  return confined.ok() ? Serve(socket) : Fail(std::string(confined.message()));
}

}  // namespace
}  // namespace corpgrid::worker

int main(int argc, char** argv) {
  setenv("GRPC_VERBOSITY", "NONE", /*overwrite=*/0);
  absl::SetMutexDeadlockDetectionMode(absl::OnDeadlockCycle::kIgnore);
  return corpgrid::worker::Main(argc, argv);
}
