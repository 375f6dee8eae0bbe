#include <pthread.h>
#include <signal.h>
#include <unistd.h>

#include <atomic>
#include <cstdlib>
#include <filesystem>
#include <memory>
#include <thread>

#include "agent/agent.h"
#include "base/file.h"
#include "base/status_macros.h"
#include "base/text.h"
#include "cli/agent_models.h"
#include "cli/commands.h"
#include "cli/data_folder.h"
#include "cli/keys.h"
#include "cli/limit_options.h"
#include "cli/own_programs.h"
#include "cli/placement_options.h"
#include "cli/secret.h"
#include "cli/up.h"
#include "fmt/format.h"
#include "rpc/measure.h"
#include "scheduler/scheduler.h"
#include "scheduler/validator_child.h"
#include "store/follower.h"
#include "store/store.h"

namespace corpgrid::cli {
namespace {

namespace fs = std::filesystem;

// On PostgreSQL a scheduler that finds another one leading waits until it can take over, whatever
// becomes of the database meanwhile; it follows what the leader commits. Null when one of `stops`
// came first.
absl::StatusOr<std::unique_ptr<scheduler::Scheduler>> StartOrStandBy(
    scheduler::Options options, const sigset_t& stops, std::unique_ptr<store::Follower>* follower) {
  constexpr timespec kPause = {.tv_sec = 0, .tv_nsec = 100'000'000};
  bool said_ready = false;
  for (absl::Status said;;) {
    options.follower = follower->get();
    absl::StatusOr<std::unique_ptr<scheduler::Scheduler>> started =
        scheduler::Scheduler::Start(options);
    const absl::Status why = started.status();
    const bool wait = absl::IsAlreadyExists(why) || absl::IsAborted(why) ||
                      (!said.ok() && absl::IsUnavailable(why));
    if (!wait || !store::IsPostgresUrl(options.store)) return started;
    if (said.code() != why.code()) {
      Say(fmt::format("standing by: {}", std::string(why.message())));
    }
    said = why;
    if (!*follower || (*follower)->ended()) {
      *follower = std::make_unique<store::Follower>(options.store, scheduler::ConfigOf(options));
      said_ready = false;
    }
    if ((*follower)->ready() && !std::exchange(said_ready, true)) {
      Say("standing by with the grid's state in memory");
    }
    if (sigtimedwait(&stops, nullptr, &kPause) > 0) return nullptr;
  }
}

// In milliseconds; 0 is for ever, as the scheduler has it.
absl::StatusOr<int64_t> ParseKeepJobs(const std::string& text) {
  if (text == "forever") return 0;
  const absl::StatusOr<int64_t> ms = ParseDurationMs(text);
  if (ms.ok() && *ms > 0) return ms;
  return absl::InvalidArgumentError(
      fmt::format("\"{}\" is no time to keep jobs: write 12h, 30d or forever", text));
}

absl::Status RunScheduler(scheduler::Options options) {
  ASSIGN_OR_RETURN(options.store, ReadSecret(options.store));
  if (const auto runner = FindBeside("corpgrid-runner");
      runner.ok()) {  // A grid's own agents are like this.
    ASSIGN_OR_RETURN(const crypto::Hash own, rpc::Measure({"/proc/self/exe", *runner}));
    options.known_programs.emplace_back(own.Raw());
  }
  std::error_code error;
  fs::create_directories(options.data_folder, error);
  options.validator = {ThisProgram(), "__validate", "--data",
                       fs::absolute(options.data_folder).string() + "/validator"};
  // All threads leave these signals to the one that waits for them.
  sigset_t stops;
  sigemptyset(&stops);
  sigaddset(&stops, SIGINT);
  sigaddset(&stops, SIGTERM);
  pthread_sigmask(SIG_BLOCK, &stops, nullptr);
  std::unique_ptr<store::Follower> follower;  // while it stands by
  ASSIGN_OR_RETURN(const auto scheduler, StartOrStandBy(options, stops, &follower));
  follower.reset();
  if (scheduler == nullptr) return absl::OkStatus();
  std::thread waiter([&] {
    int signal = 0;
    sigwait(&stops, &signal);
    scheduler->Stop();
  });
  Say(fmt::format("the scheduler listens on {}; its data is in {}", scheduler->address(),
                  options.data_folder));
  const absl::Status ended = scheduler->Wait();
  pthread_kill(waiter.native_handle(), SIGTERM);  // it waits still if this end was not its doing
  waiter.join();
  return ended;
}

struct AgentArguments {
  agent::Options options;
  LimitArguments limits;
  OfferedModels models;
  std::vector<std::string> trusted;
};

absl::Status RunAgent(const Common& common, AgentArguments arguments) {
  agent::Options& options = arguments.options;
  if (options.name.empty()) {
    char name[256] = "device";
    gethostname(name, sizeof(name) - 1);
    options.name = name;
  }
  options.data_folder =
      common.data_given ? common.data_folder : common.data_folder + "/agents/" + options.name;
  std::error_code error;
  fs::create_directories(options.data_folder, error);
  // An agent that starts as root gives its folder away to the user that it becomes.
  if (fs::exists(options.data_folder + "/grid.json", error)) {
    return absl::InvalidArgumentError(fmt::format(
        "{} is the data folder of a grid; an agent needs one of its own", options.data_folder));
  }
  ASSIGN_OR_RETURN(options.join_token, ReadSecret(options.join_token));
  options.keyring_path = TrustedKeysPath(options.data_folder);
  RETURN_IF_ERROR(AddTrustedKeys(options.keyring_path, arguments.trusted));
  ASSIGN_OR_RETURN(options.limits, arguments.limits.Parse());
  options.metrics = arguments.limits.metrics;
  ASSIGN_OR_RETURN(options.runner_path, FindBeside("corpgrid-runner"));
  const std::string beside = common.data_given ? options.data_folder : common.data_folder;
  if (arguments.models.folder.empty()) arguments.models.folder = beside + "/models";
  RETURN_IF_ERROR(OfferModels(arguments.models, arguments.limits.gpus, &options));
  unsetenv("CORPGRID_JOIN");  // no child needs to see it
  const std::atomic<bool> never = false;
  return agent::RunAgent(options, never);
}

void AddStoreOption(CLI::App* command, std::string* store) {
  command
      ->add_option("--store", *store,
                   "Where the state is: a PostgreSQL URL or @FILE with one, or a SQLite file "
                   "(default: SQLite in the data folder)")
      ->type_name("URL");
}

void AddKeepOption(CLI::App* command, std::string* keep_jobs) {
  command
      ->add_option("--keep-jobs", *keep_jobs,
                   "How long jobs and their results stay after their end: 12h, 30d or forever")
      ->capture_default_str()
      ->type_name("TIME")
      ->check(CLI::Validator(
          [](const std::string& text) {
            return std::string(ParseKeepJobs(text).status().message());
          },
          ""));
}

void AddUp(CommandTree& tree) {
  const auto options = std::make_shared<UpOptions>();
  CLI::App* up = AddCommand(tree, &tree.root, "up", "Run a whole grid on this machine",
                            "  corpgrid up\n"
                            "  corpgrid up --agents 5 --slots 2 --data ~/grid",
                            [&common = tree.common, options] {
                              options->program = ThisProgram();
                              return RunUp(common, *options);
                            });
  up->add_option("--agents", options->agents, "How many agents, each its own process")
      ->capture_default_str()
      ->type_name("N")
      ->check(CLI::Range(1, 256).description(""));
  up->add_option("--slots", options->slots,
                 "Shards that an agent runs at a time (default: the processors shared out)")
      ->type_name("N")
      ->check(CLI::Range(1, 1024).description(""));
  up->add_option("--listen", options->listen, "The scheduler's address; port 0 picks one")
      ->capture_default_str()
      ->type_name("HOST:PORT");
  up->add_option("--api", options->api,
                 "Where the gateway answers the OpenAI API; port 0 picks one; none: nowhere")
      ->capture_default_str()
      ->type_name("HOST:PORT");
  up->add_option("--preset", options->preset,
                 "How much of this machine is lent: conservative, balanced or dedicated")
      ->capture_default_str()
      ->type_name("PRESET")
      ->envname("CORPGRID_PRESET");
  AddStoreOption(up, &options->store);
  AddKeepOption(up, &options->keep_jobs);
}

void AddScheduler(CommandTree& tree) {
  const auto options = std::make_shared<scheduler::Options>();
  options->listen = "127.0.0.1:50051";
  const auto keep_jobs = std::make_shared<std::string>(kKeepJobs);
  CLI::App* scheduler = AddCommand(
      tree, &tree.root, "scheduler", "Run the scheduler alone",
      "  corpgrid scheduler --data /srv/grid --listen 127.0.0.1:50051\n"
      "  corpgrid scheduler --data /srv/grid --store "
      "postgres://grid@db.example/grid\n"
      "  corpgrid scheduler --audit-rate 0.2     trusted devices check a fifth of it all",
      [&common = tree.common, options, keep_jobs]() -> int {
        options->data_folder = common.data_folder;
        options->keep_jobs_ms = ParseKeepJobs(*keep_jobs).value();
        const absl::Status status = RunScheduler(*options);
        return status.ok() ? kExitDone : Fail(common, status);
      });
  scheduler->add_option("--listen", options->listen, "Its address; port 0 picks one")
      ->capture_default_str()
      ->type_name("HOST:PORT");
  AddStoreOption(scheduler, &options->store);
  AddKeepOption(scheduler, keep_jobs.get());
  scheduler
      ->add_option("--audit-rate", options->audit_rate,
                   "The share of accepted results that trusted devices compute again")
      ->capture_default_str()
      ->type_name("SHARE")
      ->check(CLI::Range(0.0, 1.0).description(""));
  AddWeightOption(scheduler, &options->weights);
  AddKnownAgentOption(scheduler, &options->known_programs);
}

// What the scheduler starts for itself; people are not told of it.
void AddValidator(CommandTree& tree) {
  AddCommand(tree, &tree.root, "__validate", "Compare results for a scheduler", "",
             [&common = tree.common]() -> int {
               absl::StatusOr<std::string> runner = FindBeside("corpgrid-runner");
               const absl::Status status =
                   runner.ok() ? scheduler::ServeValidator(common.data_folder, *runner)
                               : runner.status();
               return status.ok() ? kExitDone : Fail(common, status);
             })
      ->group("");
}

void AddAgent(CommandTree& tree) {
  const auto arguments = std::make_shared<AgentArguments>();
  CLI::App* agent = AddCommand(
      tree, &tree.root, "agent", "Lend this machine to a grid",
      "  corpgrid agent --data /srv/agent --scheduler 127.0.0.1:50051 --join @token.txt \\\n"
      "      --trust submitter.pub\n"
      "  corpgrid agent --data /srv/agent --scheduler 127.0.0.1:50051     once the grid knows it",
      [&common = tree.common, arguments]() -> int {
        const absl::Status status = RunAgent(common, *arguments);
        return status.ok() ? kExitDone : Fail(common, status);
      });
  agent->get_option("--data")->description(
      "The agent's own folder (default: " + DefaultDataFolder() + "/agents/NAME)");
  agent::Options& options = arguments->options;
  agent->add_option("--scheduler", options.scheduler, "Where the scheduler listens")
      ->type_name("HOST:PORT")
      ->required();
  agent
      ->add_option("--join", options.join_token,
                   "The join token or @FILE (corpgrid token create); needed the first time")
      ->type_name("TOKEN")
      ->envname("CORPGRID_JOIN");
  agent->add_option("--name", options.name, "What people call it (default: the host's name)")
      ->type_name("NAME");
  agent->add_option("--site", options.site, "Where it stands")->type_name("SITE");
  agent
      ->add_option("--label", options.labels,
                   "What jobs may ask for (placement.labels), as fast-disk or os=debian12; again "
                   "for more")
      ->type_name("LABEL")
      ->allow_extra_args(false);
  agent
      ->add_option("--hours", options.hours,
                   "When it is lent, by this machine's clock: 18:00-08:00, \"mon-fri "
                   "18:00-08:00\" or sat,sun; again for more (default: always)")
      ->type_name("HOURS")
      ->allow_extra_args(false);
  agent
      ->add_option("--slots", options.slots,
                   "Shards that it runs at a time (default: one a processor)")
      ->type_name("N")
      ->check(CLI::Range(1, 1024).description(""));
  agent
      ->add_option("--trust", arguments->trusted,
                   "Run the jobs of these submitters: keys, or files of keys; remembered")
      ->type_name("FILE");
  agent
      ->add_option("--power-supply", options.power_supply,
                   "Where the power status is read, for a machine that has it elsewhere")
      ->capture_default_str()
      ->type_name("FOLDER")
      ->envname("CORPGRID_POWER_SUPPLY");
  agent
      ->add_option("--hwmon", options.hwmon,
                   "Where the temperatures are read, for a machine that has them elsewhere")
      ->capture_default_str()
      ->type_name("FOLDER")
      ->envname("CORPGRID_HWMON");
  AddModelOptions(agent, &arguments->models);
  AddLimitOptions(agent, "balanced", &arguments->limits);
  agent->add_flag("--allow-network", options.allow_network,
                  "Also run jobs that ask for the network");
}

}  // namespace

void AddDaemonCommands(CommandTree& tree) {
  AddUp(tree);
  AddScheduler(tree);
  AddValidator(tree);
  AddAgent(tree);
}

}  // namespace corpgrid::cli
