#include <signal.h>
#include <unistd.h>

#include <filesystem>
#include <functional>
#include <memory>

#include "base/clock.h"
#include "base/status_macros.h"
#include "base/text.h"
#include "cli/commands.h"
#include "cli/limit_options.h"
#include "cli/own_programs.h"
#include "fmt/format.h"
#include "gateway/admission.h"
#include "gateway/api.h"
#include "gateway/api_error.h"
#include "gateway/grid_models.h"
#include "gateway/local_model.h"
#include "http/listen.h"
#include "http/metrics_page.h"
#include "http/server.h"
#include "models/worker_tool.h"
#include "platform/device.h"
#include "platform/load.h"
#include "platform/memory.h"
#include "spdlog/sinks/stdout_sinks.h"
#include "spdlog/spdlog.h"

namespace corpgrid::cli {
namespace {

namespace fs = std::filesystem;

constexpr int64_t kGraceMs = 5000;

struct ServeArguments {
  std::string file;
  std::string listen = "127.0.0.1:8000";
  std::string name;
  std::string key_file;
  uint32_t context = 0;  // the usual one
  bool shared_memory = false;
  uint32_t sequences = 16;
  uint32_t threads = 0;
  LimitArguments limits;
};

// A folder that goes with this.
class OwnFolder {
 public:
  static absl::StatusOr<OwnFolder> Make() {
    std::string path = (fs::temp_directory_path() / "corpgrid-serve.XXXXXX").string();
    if (mkdtemp(path.data()) == nullptr) return absl::UnavailableError("cannot make " + path);
    return OwnFolder(std::move(path));
  }
  OwnFolder(OwnFolder&& other) noexcept : path_(std::exchange(other.path_, "")) {}
  OwnFolder& operator=(OwnFolder&&) = delete;
  ~OwnFolder() {
    std::error_code ignored;
    if (!path_.empty()) fs::remove_all(path_, ignored);
  }
  const std::string& path() const { return path_; }

 private:
  explicit OwnFolder(std::string path) : path_(std::move(path)) {}
  std::string path_;
};

absl::StatusOr<std::unique_ptr<resources::ResourceManager>> Lend(const LimitArguments& arguments,
                                                                 const std::string& folder) {
  ASSIGN_OR_RETURN(const resources::Limits limits, arguments.Parse());
  ASSIGN_OR_RETURN(const platform::DeviceFacts facts, platform::DiscoverDevice(folder));
  return std::make_unique<resources::ResourceManager>(resources::ResourceManager::Options{
      .limits = limits,
      .memory_bytes = facts.memory_bytes,
      .load = [load = platform::DeviceLoad()]() mutable { return load.Percent(); },
      .clock = &SystemClock()});
}

absl::StatusOr<std::unique_ptr<gateway::LocalModel>> Host(const ServeArguments& arguments,
                                                          const std::string& folder,
                                                          resources::ResourceManager* resources) {
  gateway::LocalModel::Options options;
  ASSIGN_OR_RETURN(options.program, FindBeside("corpgrid-worker"));
  options.folder = folder;
  options.name = arguments.name.empty() ? fs::path(arguments.file).stem().string() : arguments.name;
  options.load.set_path(fs::absolute(arguments.file).string());
  options.load.set_context(arguments.context);
  options.load.set_shared_memory(arguments.shared_memory);
  options.load.set_sequences(arguments.sequences);
  options.load.set_threads(arguments.threads);
  ASSIGN_OR_RETURN(const uint64_t available, platform::AvailableMemory());
  options.load.set_memory_limit_bytes(std::min(available, resources->memory_bytes()));
  if (arguments.limits.gpus) {
    const auto gpus = models::ListGpus(options.program);
    if (!gpus.ok()) spdlog::warn("no GPU is used: {}", std::string(gpus.status().message()));
    if (gpus.ok() && !gpus->empty()) {
      options.load.set_gpu_percent(resources->limits().memory_percent);
    }
  }
  options.resources = resources;
  return gateway::LocalModel::Start(std::move(options));
}

// The keys that are let in; `key`: the one that was made because no file is given.
absl::StatusOr<std::unique_ptr<gateway::KeyDirectory>> OpenKeys(const std::string& file,
                                                                std::string* key) {
  if (!file.empty()) return gateway::KeyFile::Open(file);
  *key = gateway::NewApiKey();
  gateway::ApiKey only;
  only.name = "whoever started it";
  only.hash = gateway::HashOfApiKey(*key);
  return std::make_unique<gateway::OneKey>(std::move(only));
}

void Announce(const Common& common, const std::string& url, const std::string& model,
              const std::string& key, bool only_embeds = false) {
  if (common.json) {
    Json said{{"url", url}};
    if (!model.empty()) said["model"] = model;
    if (!key.empty()) said["api_key"] = key;
    PrintJson(said);
    return;
  }
  Print(fmt::format("{} answers at {}/v1\n", model.empty() ? "the grid" : model, url));
  if (!key.empty()) Print(fmt::format("API key: {}\n", key));
  Say(
      fmt::format("Ctrl-C ends it. Try:\n"
                  "  curl {}/v1/{} -H 'Authorization: Bearer {}' \\\n"
                  "    -d '{{\"model\": \"{}\", {}}}'",
                  url, only_embeds ? "embeddings" : "chat/completions", key.empty() ? "KEY" : key,
                  model.empty() ? "MODEL" : model,
                  only_embeds ? R"("input": "Hello")"
                              : R"("messages": [{"role": "user", "content": "Hello"}])"));
}

// Answers the API for the models of a directory until it is told to stop. `announce` gets the URL
// and the key that was made because there is no file of keys.
absl::Status Answer(gateway::ModelDirectory* models, const std::string& listen,
                    const std::string& key_file, const sigset_t& stops,
                    const std::function<void(const std::string&, const std::string&)>& announce) {
  ASSIGN_OR_RETURN(http::Options options, http::ParseListen("--listen", listen));
  options.error_body = [](unsigned status, std::string_view message) {
    return gateway::ErrorJson(status, message);
  };
  std::string key;
  ASSIGN_OR_RETURN(const auto keys, OpenKeys(key_file, &key));
  gateway::Admission admission(keys.get(), &SystemClock());
  gateway::Api api(models, &admission, &SystemClock());
  options.doorkeeper = [&api](const http::Request& head) { return api.TurnAway(head); };
  http::Router router;
  api.AddRoutes(&router);
  const std::string address = options.address;
  ASSIGN_OR_RETURN(const auto server, http::Server::Start(std::move(options), std::move(router)));
  announce("http://" + http::HostAndPort(address, server->port()), key);
  int signal = 0;
  sigwait(&stops, &signal);
  pthread_sigmask(SIG_UNBLOCK, &stops, nullptr);  // a second one ends it at once
  server->Stop(kGraceMs);
  return absl::OkStatus();
}

// The signals that end it, blocked in all threads from here on.
sigset_t BlockStops() {
  sigset_t stops;
  sigemptyset(&stops);
  for (const int signal : {SIGINT, SIGTERM}) sigaddset(&stops, signal);
  pthread_sigmask(SIG_BLOCK, &stops, nullptr);
  return stops;
}

absl::Status Serve(const Common& common, const ServeArguments& arguments) {
  const sigset_t stops = BlockStops();
  spdlog::set_default_logger(spdlog::stderr_logger_mt("serve"));
  RETURN_IF_ERROR(http::ParseListen("--listen", arguments.listen).status());
  ASSIGN_OR_RETURN(const OwnFolder folder, OwnFolder::Make());
  ASSIGN_OR_RETURN(const auto resources, Lend(arguments.limits, folder.path()));
  std::unique_ptr<http::Server> metrics;
  if (!arguments.limits.metrics.empty()) {
    ASSIGN_OR_RETURN(metrics, http::ServeMetrics(arguments.limits.metrics, [&resources] {
                       return resources->MetricsText();
                     }));
    Say(fmt::format("metrics at port {}", metrics->port()));
  }
  ASSIGN_OR_RETURN(const auto model, Host(arguments, folder.path(), resources.get()));
  if (const auto loaded = model->loaded(); !loaded.gpu().empty()) {
    Say("the model is on " + loaded.gpu());
  } else if (!loaded.why_no_gpu().empty()) {
    Say("the model is on no GPU: " + loaded.why_no_gpu());
  }
  const absl::Status status = Answer(model.get(), arguments.listen, arguments.key_file, stops,
                                     [&](const std::string& url, const std::string& key) {
                                       Announce(common, url, model->List().front().name, key,
                                                model->loaded().facts().only_embeds());
                                     });
  model->Stop();
  return status;
}

absl::Status ServeGrid(const Common& common, const ServeArguments& arguments) {
  const sigset_t stops = BlockStops();
  spdlog::set_default_logger(spdlog::stderr_logger_mt("gateway"));
  ASSIGN_OR_RETURN(const auto models, gateway::GridModels::Start(common.data_folder));
  return Answer(
      models.get(), arguments.listen, arguments.key_file, stops,
      [&](const std::string& url, const std::string& key) { Announce(common, url, "", key); });
}

void AddListenOptions(CLI::App* command, ServeArguments* arguments) {
  command->add_option("--listen", arguments->listen, "Where to answer; port 0 picks one")
      ->capture_default_str()
      ->type_name("ADDRESS:PORT");
  command
      ->add_option("--api-key-file", arguments->key_file,
                   "Who is let in (see corpgrid apikey); without it one key is made and shown")
      ->type_name("FILE");
}

}  // namespace

void AddServeCommand(CommandTree& tree) {
  const auto arguments = std::make_shared<ServeArguments>();
  CLI::App* serve = AddCommand(
      tree, &tree.root, "serve", "Answer the OpenAI API with a model on this machine",
      "  corpgrid serve models/some.gguf\n"
      "  corpgrid serve models/some.gguf --listen 127.0.0.1:0 --name chat --api-key-file keys.json",
      [&common = tree.common, arguments]() -> int {
        const absl::Status status = Serve(common, *arguments);
        return status.ok() ? kExitDone : Fail(common, status);
      });
  serve->add_option("file", arguments->file, "The model, a GGUF file")
      ->type_name("FILE")
      ->required();
  serve->add_option("--name", arguments->name, "What the model is called (default: the file's)")
      ->type_name("NAME");
  serve
      ->add_option("--context", arguments->context,
                   "Tokens that a prompt and its answer may have (default: 4096, or as many as it "
                   "was trained for)")
      ->type_name("N")
      ->check(CLI::Range(16u, 1u << 24).description(""));
  serve->add_option("--sequences", arguments->sequences, "Answers that are computed at once")
      ->capture_default_str()
      ->type_name("N")
      ->check(CLI::Range(1u, 256u).description(""));
  serve->add_flag("--shared-memory", arguments->shared_memory,
                  "The context is that of all answers together: a few long ones or many short "
                  "ones; where it runs out, the youngest waits");
  serve->add_option("--threads", arguments->threads, "That compute (default: one a core)")
      ->type_name("N")
      ->check(CLI::Range(1u, 512u).description(""));
  AddListenOptions(serve, arguments.get());
  AddLimitOptions(serve, "dedicated", &arguments->limits);
}

void AddGatewayCommand(CommandTree& tree) {
  const auto arguments = std::make_shared<ServeArguments>();
  CLI::App* gateway = AddCommand(tree, &tree.root, "gateway",
                                 "Answer the OpenAI API for the models that a grid hosts",
                                 "  corpgrid gateway --api-key-file keys.json\n"
                                 "  corpgrid gateway --listen 127.0.0.1:0",
                                 [&common = tree.common, arguments]() -> int {
                                   const absl::Status status = ServeGrid(common, *arguments);
                                   return status.ok() ? kExitDone : Fail(common, status);
                                 });
  AddListenOptions(gateway, arguments.get());
}

}  // namespace corpgrid::cli
