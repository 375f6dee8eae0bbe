#include "cli/up.h"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <filesystem>
#include <list>
#include <memory>
#include <optional>
#include <thread>

#include "base/clock.h"
#include "base/status_macros.h"
#include "base/text.h"
#include "base/version.h"
#include "cli/client.h"
#include "cli/data_folder.h"
#include "cli/interrupt.h"
#include "cli/supervisor.h"
#include "cli/table.h"
#include "crypto/signature.h"
#include "fmt/format.h"
#include "gateway/api_keys.h"
#include "rpc/connect.h"

namespace corpgrid::cli {
namespace {

namespace v1 = corpgrid::v1;

constexpr int64_t kTickMs = 50;
constexpr int64_t kSchedulerStartMs = 30'000;
constexpr int64_t kAgentsStartMs = 30'000;
constexpr int64_t kGatewayStartMs = 15'000;
constexpr int64_t kStopMs = 12'000;
constexpr size_t kReasonLines = 8;

void Sleep(int64_t ms) { std::this_thread::sleep_for(std::chrono::milliseconds(ms)); }

// Why a daemon that has just been started ended: its own last word, else the end of its log.
absl::Status WhyEnded(const Supervised& child, const std::string& how) {
  constexpr std::string_view kOwnWords = "corpgrid: ";
  const std::string log = child.LogSinceStart();
  std::vector<std::string> lines;
  std::string last_word;
  for (size_t at = 0; at < log.size();) {
    const size_t end = std::min(log.find('\n', at), log.size());
    lines.push_back("\n  " + Printable(log.substr(at, end - at)));
    if (log.compare(at, kOwnWords.size(), kOwnWords) == 0) {
      last_word = log.substr(at + kOwnWords.size(), end - at - kOwnWords.size());
    }
    at = end + 1;
  }
  if (!last_word.empty()) {
    return absl::FailedPreconditionError(fmt::format("{}: {}", child.name(), last_word));
  }
  std::string text = fmt::format("{} {}; the end of {}:", child.name(), how, child.log_path());
  for (size_t i = lines.size() - std::min(kReasonLines, lines.size()); i < lines.size(); ++i) {
    text += lines[i];
  }
  return absl::FailedPreconditionError(text);
}

// Where a gateway says that it answers; empty: it has not yet.
std::string AddressIn(const std::string& log) {
  constexpr std::string_view kSaid = "answers at http://";
  const size_t found = log.find(kSaid);
  if (found == std::string::npos) return "";
  const size_t begin = found + kSaid.size(), end = log.find("/v1", begin);
  return end == std::string::npos ? "" : log.substr(begin, end - begin);
}

// Makes a folder and sets its mode. What agents that became unprivileged users pass through lets
// everyone through, but not list it.
absl::Status MakeFolder(const std::string& path, mode_t mode) {
  std::error_code error;
  std::filesystem::create_directories(path, error);
  if (error || chmod(path.c_str(), mode) != 0) {
    return absl::PermissionDeniedError(
        fmt::format("cannot make the folder {}: {}; choose another with --data", path,
                    error ? error.message() : std::strerror(errno)));
  }
  return absl::OkStatus();
}

class Grid {
 public:
  Grid(const Common& common, const UpOptions& options, const InterruptFlag& interrupt)
      : common_(common),
        options_(options),
        data_(common.data_folder),
        interrupt_(interrupt),
        started_ms_(SystemClock().MonotonicMs()) {}
  Grid(const Grid&) = delete;
  ~Grid() { Stop(); }

  absl::Status Start();
  // Until the interrupt.
  void Tend();

 private:
  absl::Status MakeFolders() const;
  absl::Status StartScheduler();
  absl::Status StartAgent(int number);
  absl::Status StartGateway();
  absl::Status AwaitAgents();
  absl::Status CheckNoneEnded();
  absl::StatusOr<bool> IsKnown(const std::string& name, const std::string& folder);
  void SayReady();
  void Stop();
  std::string LogPath(const std::string& name) const { return data_ + "/logs/" + name + ".log"; }
  int SlotsEach() const;

  const Common& common_;
  const UpOptions& options_;
  const std::string data_;
  const InterruptFlag& interrupt_;
  const int64_t started_ms_;
  std::string submitter_key_;
  std::unique_ptr<Client> client_;
  std::list<Supervised> children_;  // the scheduler first, then agents
  std::optional<Supervised> gateway_;
  std::string api_url_;
  std::vector<std::string> missing_;
};

absl::Status Grid::MakeFolders() const {
  const mode_t passable = geteuid() == 0 ? 0711 : 0700;
  RETURN_IF_ERROR(MakeFolder(data_, passable));
  RETURN_IF_ERROR(MakeFolder(data_ + "/agents", passable));
  return MakeFolder(data_ + "/logs", 0700);
}

absl::Status Grid::Start() {
  ASSIGN_OR_RETURN(const crypto::KeyPair key,
                   crypto::KeyPair::LoadOrCreate(SubmitterKeyPath(data_)));
  submitter_key_ = key.public_key().ToText();
  RETURN_IF_ERROR(MakeFolders());
  RETURN_IF_ERROR(StartScheduler());
  for (int i = 1; i <= options_.agents && !interrupt_.raised(); ++i) {
    RETURN_IF_ERROR(StartAgent(i));
  }
  RETURN_IF_ERROR(StartGateway());
  RETURN_IF_ERROR(AwaitAgents());
  if (!interrupt_.raised()) SayReady();
  return absl::OkStatus();
}

absl::Status Grid::StartScheduler() {
  const auto argv = [&](const std::string& listen) {
    std::vector<std::string> words = {
        options_.program, "scheduler", "--data",      data_,
        "--listen",       listen,      "--keep-jobs", options_.keep_jobs};
    if (!options_.store.empty()) words.insert(words.end(), {"--store", options_.store});
    return words;
  };
  Supervised& scheduler =
      children_.emplace_back(Supervised::Options{.name = "scheduler",
                                                 .argv = argv(options_.listen),
                                                 .env = {},
                                                 .log_path = LogPath("scheduler")});
  RETURN_IF_ERROR(scheduler.Start());
  while (!interrupt_.raised()) {
    if (const auto how = scheduler.EndedHow()) {
      return WhyEnded(scheduler, *how);
    }
    const absl::StatusOr<rpc::GridFile> grid = rpc::GridFile::Read(data_);
    if (grid.ok() && grid->pid == scheduler.pid()) {
      // Agents know the scheduler by its address, so that it has to come back to the same one.
      scheduler.SetArgv(argv(grid->address));
      ASSIGN_OR_RETURN(client_, Client::Open(data_));
      return client_->GridInfo().status();
    }
    if (SystemClock().MonotonicMs() - started_ms_ > kSchedulerStartMs) {
      return absl::DeadlineExceededError(
          fmt::format("the scheduler did not come up; its log: {}", scheduler.log_path()));
    }
    Sleep(kTickMs);
  }
  return absl::OkStatus();
}

int Grid::SlotsEach() const {
  if (options_.slots > 0) return options_.slots;
  const int processors = static_cast<int>(std::thread::hardware_concurrency());
  return std::max(1, processors / std::max(1, options_.agents));
}

// Whether the grid knows the device with this name and the device still has its key: then it needs
// no token.
absl::StatusOr<bool> Grid::IsKnown(const std::string& name, const std::string& folder) {
  if (access((folder + "/device.key").c_str(), F_OK) != 0) return false;
  ASSIGN_OR_RETURN(const v1::ListDevicesResponse list, client_->ListDevices());
  return std::any_of(list.devices().begin(), list.devices().end(),
                     [&](const v1::Device& device) { return device.info().name() == name; });
}

absl::Status Grid::StartAgent(int number) {
  const std::string name = fmt::format("agent-{}", number);
  const std::string folder = fmt::format("{}/agents/{}", data_, name);
  std::vector<std::string> env;
  ASSIGN_OR_RETURN(const bool known, IsKnown(name, folder));
  if (!known) {
    ASSIGN_OR_RETURN(
        const std::string token,
        client_->CreateJoinToken(fmt::format("owner-{}", number), 1, Hex(crypto::RandomBytes(16))));
    // Not as an argument: those are for all users to see.
    env.push_back("CORPGRID_JOIN=" + token);
  }
  Supervised& agent = children_.emplace_back(Supervised::Options{
      .name = name,
      .argv = {options_.program, "agent", "--data", folder, "--scheduler", client_->address(),
               "--name", name, "--slots", std::to_string(SlotsEach()), "--trust", submitter_key_,
               "--models", data_ + "/models", "--preset", options_.preset, "--one-of",
               std::to_string(options_.agents)},
      .env = std::move(env),
      .log_path = LogPath(name)});
  return agent.Start();
}

// Nobody is let in before there is a key.
absl::Status Grid::StartGateway() {
  if (options_.api == kNoApi || interrupt_.raised()) return absl::OkStatus();
  const std::string keys = ApiKeysPath(data_);
  if (access(keys.c_str(), F_OK) != 0) {
    RETURN_IF_ERROR(gateway::KeyFile::Write(keys, {}));
  }
  const auto argv = [&](const std::string& listen) {
    return std::vector<std::string>{options_.program, "gateway", "--data",         data_,
                                    "--listen",       listen,    "--api-key-file", keys};
  };
  gateway_.emplace(Supervised::Options{
      .name = "gateway", .argv = argv(options_.api), .env = {}, .log_path = LogPath("gateway")});
  RETURN_IF_ERROR(gateway_->Start());
  const int64_t begun_ms = SystemClock().MonotonicMs();
  while (!interrupt_.raised()) {
    const std::string address = AddressIn(gateway_->LogSinceStart());
    if (!address.empty()) {
      api_url_ = "http://" + address;
      gateway_->SetArgv(argv(address));  // clients know it by that
      return absl::OkStatus();
    }
    if (const auto how = gateway_->EndedHow()) {
      const absl::Status why = WhyEnded(*gateway_, *how);
      return absl::FailedPreconditionError(
          fmt::format("{}; choose another address with --api, or --api {}",
                      std::string(why.message()), kNoApi));
    }
    if (SystemClock().MonotonicMs() - begun_ms > kGatewayStartMs) {
      return absl::DeadlineExceededError(
          fmt::format("the gateway did not come up; its log: {}", gateway_->log_path()));
    }
    Sleep(kTickMs);
  }
  return absl::OkStatus();
}

absl::Status Grid::CheckNoneEnded() {
  for (Supervised& child : children_) {
    if (const auto how = child.EndedHow()) {
      return WhyEnded(child, *how);
    }
  }
  return absl::OkStatus();
}

absl::Status Grid::AwaitAgents() {
  const int64_t begun_ms = SystemClock().MonotonicMs();
  while (!interrupt_.raised()) {
    RETURN_IF_ERROR(CheckNoneEnded());
    ASSIGN_OR_RETURN(const v1::ListDevicesResponse list, client_->ListDevices());
    missing_.clear();
    const int64_t waited_ms = SystemClock().MonotonicMs() - begun_ms;
    for (const Supervised& child : children_) {
      const bool here =
          std::any_of(list.devices().begin(), list.devices().end(), [&](const v1::Device& device) {
            return device.info().name() == child.name() && device.state() != "lost" &&
                   device.last_seen_ms_ago() <= waited_ms + kTickMs;
          });
      if (!here && child.name() != "scheduler") missing_.push_back(child.name());
    }
    if (missing_.empty() || waited_ms > kAgentsStartMs) return absl::OkStatus();
    Sleep(kTickMs);
  }
  return absl::OkStatus();
}

void Grid::SayReady() {
  Table table({{"WHAT"}, {"OWNER"}, {"SLOTS", true}, {"PROCESS", true}, {"LOG"}});
  int number = 0;
  for (const Supervised& child : children_) {
    const bool agent = number > 0;
    table.AddRow({agent ? child.name() : "scheduler at " + client_->address(),
                  agent ? fmt::format("owner-{}", number) : "",
                  agent ? std::to_string(SlotsEach()) : "", std::to_string(child.pid()),
                  child.log_path()});
    ++number;
  }
  if (gateway_) {
    table.AddRow(
        {"gateway at " + api_url_, "", "", std::to_string(gateway_->pid()), gateway_->log_path()});
  }
  std::string text = fmt::format("CorpGrid {} in {}\n\n{}\n", kVersion, data_, table.ToText());
  if (options_.agents > 1) {
    text +=
        "The owners are simulated: all agents are this machine, each posing as another owner's,\n"
        "so that results are compared as they would be between departments.\n\n";
  }
  for (const std::string& name : missing_) {
    text += fmt::format("{} has not registered; its log: {}\n", name, LogPath(name));
  }
  const std::string data = data_ == DefaultDataFolder() ? "" : " --data " + data_;
  text += fmt::format(
      "The grid is ready ({}). Ctrl-C stops it; jobs and results stay.\n\n"
      "In another terminal:\n"
      "  corpgrid job run FILE{}      run a job, see examples/\n"
      "  corpgrid device list{}       who computes here\n",
      FormatDuration(SystemClock().MonotonicMs() - started_ms_), data, data);
  if (gateway_) {
    text += fmt::format("  corpgrid apikey create me{}  a key for the OpenAI API at {}/v1\n", data,
                        api_url_);
  }
  if (common_.json) {
    Say(text);
    Json agents = Json::array();
    for (const Supervised& child : children_) {
      if (child.name() == "scheduler") continue;
      agents.push_back({{"name", child.name()}, {"pid", child.pid()}, {"slots", SlotsEach()}});
    }
    PrintJson(
        Json{{"state", "ready"},
             {"data", data_},
             {"scheduler", {{"address", client_->address()}, {"pid", children_.front().pid()}}},
             {"agents", std::move(agents)},
             {"api", gateway_ ? Json{{"url", api_url_}, {"pid", gateway_->pid()}} : Json()}});
  } else {
    Print(text);
  }
}

void Grid::Tend() {
  const auto tend = [](Supervised& child) {
    child.Tend([&](const std::string& how, int64_t pause_ms) {
      Say(fmt::format("{} {}; starting it again in {} (log: {})", child.name(), how,
                      FormatDuration(pause_ms), child.log_path()));
    });
  };
  while (!interrupt_.raised()) {
    for (Supervised& child : children_) tend(child);
    if (gateway_) tend(*gateway_);
    Sleep(kTickMs);
  }
}

// Agents before the scheduler, so that they can hand in what they have.
void Grid::Stop() {
  if (children_.empty()) return;
  if (interrupt_.raised()) Say("stopping…");
  const auto agents = std::next(children_.begin());
  std::for_each(agents, children_.end(), [](const Supervised& agent) { agent.Terminate(); });
  if (gateway_) gateway_->Terminate();
  const int64_t end_ms = SystemClock().MonotonicMs() + kStopMs;
  const auto wait = [&](Supervised& child) {
    child.WaitEnded(std::max<int64_t>(end_ms - SystemClock().MonotonicMs(), 0));
    child.Kill();
  };
  std::for_each(agents, children_.end(), wait);
  if (gateway_) wait(*gateway_);
  children_.front().Terminate();
  children_.front().WaitEnded(kStopMs);
  children_.front().Kill();
  if (interrupt_.raised()) Say("stopped");
}

}  // namespace

int RunUp(const Common& common, const UpOptions& options) {
  if (const absl::Status status = MakeFolder(common.data_folder, geteuid() == 0 ? 0711 : 0700);
      !status.ok()) {
    return Fail(common, status);
  }
  if (const absl::Status status = rpc::CheckLoopback(options.listen); !status.ok()) {
    return Fail(common, status);
  }
  const absl::StatusOr<UpLock> lock = UpLock::Take(common.data_folder);
  if (!lock.ok()) return Fail(common, lock.status());
  const InterruptFlag interrupt;
  Grid grid(common, options, interrupt);
  const absl::Status started = grid.Start();
  if (!started.ok() && !interrupt.raised()) return Fail(common, started);
  grid.Tend();
  return kExitDone;
}

}  // namespace corpgrid::cli
