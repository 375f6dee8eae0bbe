#include "agent/agent.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <filesystem>
#include <system_error>

#include "absl/synchronization/mutex.h"
#include "agent/condition.h"
#include "agent/daemon.h"
#include "agent/files.h"
#include "agent/hours.h"
#include "base/file.h"
#include "base/status_macros.h"
#include "base/version.h"
#include "crypto/keyring.h"
#include "http/metrics_page.h"
#include "job/placement_rules.h"
#include "platform/device.h"
#include "platform/load.h"
#include "platform/memory.h"
#include "rpc/connect.h"
#include "rpc/measure.h"
#include "runner/place.h"
#include "sandbox/unprivileged.h"

namespace corpgrid::agent {
namespace {

// SIGTERM and SIGINT as something to wait for. A handler that writes to a pipe, not a blocked
// signal: what is blocked here would be blocked in every command of every shard.
class TerminationSignals {
 public:
  static absl::StatusOr<TerminationSignals> Catch() {
    int ends[2];
    if (pipe2(ends, O_CLOEXEC | O_NONBLOCK) != 0) return DeviceError("a pipe", "make");
    TerminationSignals signals;
    signals.read_end_ = UniqueFd(ends[0]);
    write_end = ends[1];
    struct sigaction action{};
    action.sa_handler = [](int) {
      const int saved = errno;
      [[maybe_unused]] const ssize_t written = write(write_end, "", 1);
      errno = saved;
    };
    action.sa_flags = SA_RESTART;
    sigaction(SIGTERM, &action, nullptr);
    sigaction(SIGINT, &action, nullptr);
    return signals;
  }

  bool WaitFor(int64_t ms) const {
    pollfd waiting{read_end_.get(), POLLIN, 0};
    return poll(&waiting, 1, static_cast<int>(ms)) > 0;
  }

 private:
  // A handler takes no argument; the descriptor stays open for as long as the process.
  static inline volatile sig_atomic_t write_end = -1;
  UniqueFd read_end_;
};

absl::StatusOr<Registrar::Device> Describe(const Options& options, const crypto::Hash& program) {
  ASSIGN_OR_RETURN(const platform::DeviceFacts facts,
                   platform::DiscoverDevice(options.data_folder));
  Registrar::Device device;
  device.join_token = options.join_token;
  device.info.set_name(options.name.empty() ? facts.hostname : options.name);
  device.info.set_site(options.site);
  device.info.set_cpus(facts.cpus);
  device.info.set_memory_bytes(facts.memory_bytes);
  device.info.add_backends("cpu");
  device.info.set_network_allowed(options.allow_network);
  device.info.set_version(kVersion);
  ASSIGN_OR_RETURN(const std::vector<std::string> labels, job::CheckLabels(options.labels));
  device.info.mutable_labels()->Assign(labels.begin(), labels.end());
  device.info.set_drivers(facts.drivers);
  device.info.set_program(std::string(program.Raw()));
  return device;
}

// Of what is lent, so that jobs and models never count on the same memory.
uint64_t ModelMemory(const Options& options, uint64_t lent_bytes) {
  if (options.worker_path.empty()) return 0;
  const uint64_t asked = options.model_memory_bytes;
  return std::min(asked == 0 ? lent_bytes / 2 : asked, lent_bytes);
}

// Null when it is to host none.
std::unique_ptr<ModelHost> HostModels(const Options& options, uint64_t limit_bytes,
                                      resources::ResourceManager* resources) {
  if (options.worker_path.empty()) return nullptr;
  return std::make_unique<ModelHost>(
      ModelHost::Options{.worker_path = options.worker_path,
                         .folder = options.data_folder + "/workers",
                         .limit_bytes = limit_bytes,
                         .held = options.models,
                         .in_type = options.in_type,
                         .available_bytes = [] { return platform::AvailableMemory().value_or(0); },
                         .gpus = options.gpus,
                         .sent = options.sent_models,
                         .resources = resources,
                         .clock = &SystemClock()});
}

}  // namespace

absl::Status RunAgent(const Options& given, const std::atomic<bool>& stop) {
  Options options = given;
  options.data_folder = std::filesystem::absolute(given.data_folder).string();
  if (options.keyring_path.empty()) options.keyring_path = options.data_folder + "/trusted";
  spdlog::set_default_logger(spdlog::stderr_logger_mt(fmt::format("agent {}", options.name)));
  if (options.slots < 0) {
    return absl::InvalidArgumentError(fmt::format("{} slots: at least 1", options.slots));
  }
  RETURN_IF_ERROR(rpc::CheckLoopback(options.scheduler));
  ASSIGN_OR_RETURN(Hours hours, Hours::Parse(options.hours));
  ASSIGN_OR_RETURN(const crypto::Hash program,
                   rpc::Measure({"/proc/self/exe", options.runner_path}));
  ASSIGN_OR_RETURN(const std::string runner_path,
                   runner::PlaceRunner(options.runner_path, options.data_folder));
  RETURN_IF_ERROR(sandbox::BecomeUnprivileged(options.data_folder).status());
  RETURN_IF_ERROR(sandbox::CheckSandbox());

  ASSIGN_OR_RETURN(const FileLock lock, FileLock::Take(options.data_folder + "/lock"));
  ASSIGN_OR_RETURN(const TerminationSignals signals, TerminationSignals::Catch());
  ASSIGN_OR_RETURN(const crypto::KeyPair key,
                   crypto::KeyPair::LoadOrCreate(options.data_folder + "/device.key"));
  ASSIGN_OR_RETURN(Registrar::Device device, Describe(options, program));
  ASSIGN_OR_RETURN(std::shared_ptr<grpc::Channel> channel, rpc::Connect(options.scheduler));
  ConditionReader condition(
      {.power_supply = options.power_supply, .hwmon = options.hwmon, .hours = std::move(hours)},
      &SystemClock());
  const uint32_t slots = options.slots == 0 ? device.info.cpus() : options.slots;
  spdlog::info("device {}, {} slots, data in {}", key.public_key().ToText(), slots,
               options.data_folder);
  resources::ResourceManager resources(
      {.limits = options.limits,
       .memory_bytes = device.info.memory_bytes(),
       .load = [load = platform::DeviceLoad()]() mutable { return load.Percent(); },
       .clock = &SystemClock()});
  const uint64_t model_bytes = ModelMemory(options, resources.memory_bytes());
  device.info.set_memory_bytes(resources.memory_bytes() - model_bytes);
  const std::unique_ptr<ModelHost> models = HostModels(options, model_bytes, &resources);
  std::unique_ptr<http::Server> metrics;
  if (!options.metrics.empty()) {
    ASSIGN_OR_RETURN(metrics, http::ServeMetrics(options.metrics,
                                                 [&resources] { return resources.MetricsText(); }));
    spdlog::info("metrics at port {}", metrics->port());
  }
  const DaemonParts parts{
      .data_folder = options.data_folder,
      .runner_path = runner_path,
      .slots = slots,
      .device = std::move(device),
      .key = &key,
      .channel = std::move(channel),
      .start_session = runner::Session::Start,
      .trusts = [&options](const crypto::PublicKey& submitter) -> absl::StatusOr<bool> {
        ASSIGN_OR_RETURN(const crypto::Keyring keyring,
                         crypto::Keyring::Load(options.keyring_path));
        return keyring.Trusts(submitter);
      },
      .condition = [&condition] { return condition.Now(); },
      .models = models.get(),
      .resources = &resources,
      .clock = &SystemClock(),
  };
  const absl::Status status =
      RunDaemon(parts, [&](int64_t ms) { return signals.WaitFor(ms) || stop.load(); });
  spdlog::info("stopped");
  return status;
}

}  // namespace corpgrid::agent
