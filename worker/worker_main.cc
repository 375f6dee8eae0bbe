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
#include "base/text.h"
#include "inference/llama/embedder.h"
#include "inference/llama/estimate.h"
#include "inference/llama/library.h"
#include "inference/llama/llama_decoder.h"
#include "rpc/connect.h"
#include "worker/confinement.h"
#include "worker/service.h"
#include "worker/tools.h"

namespace corpgrid::worker {
namespace {

namespace pb = corpgrid::v1;

inference::DecoderOptions OptionsOf(const pb::LoadRequest& request) {
  return {.slots = request.sequences(),
          .context = request.context(),
          .step_tokens = request.step_tokens(),
          .threads = request.threads(),
          .layout = request.shared_memory() ? inference::KvShape::Layout::kShared
                                            : inference::KvShape::Layout::kStreams,
          .full_precision = request.full_precision()};
}

std::string HowToNeedLess(uint64_t sequences) {
  return sequences > 1 ? "load it with fewer sequences or a shorter context"
                       : "load it with a shorter context";
}

// The library keeps some 48 bytes on each token that memory holds, also while it only estimates:
// what cannot fit must not take the machine's memory to say so.
absl::Status CheckTokens(const inference::DecoderOptions& options) {
  constexpr uint64_t kBytesPerToken = 48, kMostBytes = 2ull << 30;
  const bool shared = options.layout == inference::KvShape::Layout::kShared;
  const uint64_t sequences = shared ? 1 : std::max(1u, options.slots);
  if (options.context <= kMostBytes / kBytesPerToken / sequences) return absl::OkStatus();
  return absl::ResourceExhaustedError(
      fmt::format("{} sequences of {} tokens are more than the library can keep account of in {}; "
                  "{}",
                  sequences, options.context, FormatBytes(kMostBytes), HowToNeedLess(sequences)));
}

absl::StatusOr<HostedModel> LoadModel(const pb::LoadRequest& request) {
  const inference::DecoderOptions options = OptionsOf(request);
  RETURN_IF_ERROR(CheckTokens(options));
  HostedModel hosted;
  ASSIGN_OR_RETURN(hosted.estimate, inference::EstimateMemory(request.path(), options));
  if (request.memory_limit_bytes() > 0 &&
      hosted.estimate.total_bytes() > request.memory_limit_bytes()) {
    return absl::ResourceExhaustedError(fmt::format(
        "{} needs about {} ({} of weights, {} for {} sequences of {} tokens, {} to compute), and "
        "{} are allowed; {}",
        request.path(), FormatBytes(hosted.estimate.total_bytes()),
        FormatBytes(hosted.estimate.weight_bytes), FormatBytes(hosted.estimate.kv_bytes),
        options.slots, options.context, FormatBytes(hosted.estimate.compute_bytes),
        FormatBytes(request.memory_limit_bytes()), HowToNeedLess(options.slots)));
  }
  ASSIGN_OR_RETURN(auto model, inference::Model::Load(request.path()));
  hosted.facts = model->facts();
  std::shared_ptr<inference::Embedder> embedder;
  if (hosted.facts.only_embeds) {
    hosted.context = inference::TextLimit(*model, options.context);
    ASSIGN_OR_RETURN(embedder,
                     inference::Embedder::Create(model.get(), hosted.context, options.threads));
  } else {
    ASSIGN_OR_RETURN(hosted.decoder, inference::LlamaDecoder::Create(model.get(), options));
    hosted.sequences = hosted.decoder->shape().slots;
    hosted.context = hosted.decoder->shape().max_sequence;
  }
  hosted.render_chat = [model = model.get()](const inference::Chat& chat) {
    return model->RenderChat(chat);
  };
  hosted.embed =
      [model = model.get(), context = hosted.context, threads = options.threads,
       embedder = std::move(embedder)](
          std::span<const inference::Token> text) mutable -> absl::StatusOr<std::vector<float>> {
    if (!embedder) {  // its memory is taken when it is first asked for
      ASSIGN_OR_RETURN(embedder, inference::Embedder::Create(model, context, threads));
    }
    return embedder->Embed(text);
  };
  hosted.vocabulary = std::move(model);
  hosted.library = inference::DescribeLibrary();
  return hosted;
}

// Turns that a compute thread waits for the others before it sleeps.
constexpr char kSpins[] = "20000";

// How the compute threads wait for each other, and that large pieces of memory ask for large pages,
// is read when the libraries start: to set it, the program starts itself again.
void SetEnvironment(char** argv) {
  constexpr char kDone[] = "CORPGRID_WORKER_ENVIRONMENT";
  if (std::getenv(kDone)) return;
  setenv(kDone, "set", 1);
  if (!std::getenv("OMP_WAIT_POLICY")) setenv("GOMP_SPINCOUNT", kSpins, 0);
  setenv("GLIBC_TUNABLES", "glibc.malloc.hugetlb=1:glibc.malloc.arena_max=2", 0);
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
  AddTools(&app, &tool);
  CLI11_PARSE(app, argc, argv);
  if (socket.empty() && !tool) return Fail("--socket is required");
  if (!ForbidNetwork()) return Fail("the kernel does not let this process give up the network");
  if (const absl::Status status = inference::PrepareLibrary(); !status.ok()) {
    return Fail(std::string(status.message()));
  }
  if (tool) return tool();
  if (models.empty()) return Serve(socket);
  const absl::Status confined =
      ConfineFiles(models, {std::filesystem::path(socket).parent_path().string()});
  return confined.ok() ? Serve(socket) : Fail(std::string(confined.message()));
}

}  // namespace
}  // namespace corpgrid::worker

int main(int argc, char** argv) {
  setenv("GRPC_VERBOSITY", "NONE", /*overwrite=*/0);
  absl::SetMutexDeadlockDetectionMode(absl::OnDeadlockCycle::kIgnore);
  return corpgrid::worker::Main(argc, argv);
}
