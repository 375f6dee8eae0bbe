#include <unistd.h>

#include <cmath>
#include <cstdio>
#include <string>
#include <utility>
#include <vector>

#include "CLI/CLI.hpp"
#include "base/clock.h"
#include "base/text.h"
#include "fmt/format.h"
#include "sim/simulation.h"

namespace corpgrid::sim {
namespace {

constexpr double kDayMs = 86'400'000;
constexpr uint32_t kMaxDevices = 10'000;

constexpr const char* kAbout = R"(Simulates whole grids with the real scheduler core: agents that
crash, sleep and lie, a network that loses and doubles messages, a scheduler that dies at the worst
moments on a disk that fails. After each step it checks that nothing accepted is lost and nothing
false is accepted, and after the faults that everything ends. The seed decides all: the same options
give the same hash.)";

constexpr const char* kExamples = R"(Examples:
  corpgrid-sim                                     one simulated day of 64 devices
  corpgrid-sim --seed 7 --days 30 --devices 200    a month of a larger grid
  corpgrid-sim --runs 100 --events 500000          a hundred short runs, seeds 1 to 100
  corpgrid-sim --store sqlite --events 200000      on SQLite, whose disk tears and loses writes
  corpgrid-sim --json | jq .violations
  corpgrid-sim --liars 0.2 --colluding --events 300000
                                                   a fifth of the owners lies in concert
Exit status: 0 without violations, 1 with some, 2 for options that make no sense.)";

struct Arguments {
  Options options;
  double days = 0;
  uint64_t runs = 1;
  std::string store = "memory";
  bool no_faults = false;
  bool json = false;
  bool bounds = false;
};

void Declare(CLI::App* app, Arguments* args) {
  app->footer(kExamples);
  app->add_option("--seed", args->options.seed, "the first run's seed")->capture_default_str();
  app->add_option("--runs", args->runs, "runs, each with the next seed")
      ->capture_default_str()
      ->check(CLI::Range(uint64_t{1}, uint64_t{1'000'000}));
  app->add_option("--days", args->days,
                  "simulated days with faults (1 unless --events is given; decimals are fine)")
      ->check(CLI::Range(0.001, 3650.0));
  app->add_option("--events", args->options.fault_events, "end the faults after so many events");
  app->add_option("--devices", args->options.devices, "devices in the grid")
      ->capture_default_str()
      ->check(CLI::Range(1u, kMaxDevices));
  app->add_option("--store", args->store, "what the scheduler's state is kept in")
      ->capture_default_str()
      ->check(CLI::IsMember({"memory", "sqlite"}));
  app->add_option("--liars", args->options.liars,
                  "this share of the owners lies, and otherwise nothing goes wrong")
      ->check(CLI::Range(0.0, 0.9));
  app->add_flag("--colluding", args->options.colluding, "the liars tell the same lies");
  app->add_flag("--bounds", args->bounds,
                "a table of what jobs are told of their results among 1, 5, 20 and 40 % liars");
  app->add_flag("--no-faults", args->no_faults, "a grid in which nothing goes wrong");
  app->add_flag("--json", args->json, "the report as one JSON object");
}

// Says on a terminal how far it is, in one line.
void ShowProgress(Options* options, uint64_t run, uint64_t runs) {
  if (isatty(STDERR_FILENO) == 0) return;
  options->progress = [seed = options->seed, run, runs](uint64_t events, int64_t now_ms) {
    fmt::print(stderr, "\r\x1b[Krun {} of {}, seed {}: {:.1f} million events, {} simulated",
               run + 1, runs, seed, static_cast<double>(events) / 1e6, FormatDuration(now_ms));
    std::fflush(stderr);
  };
}

// Runs each of the seeds among liars of each kind.
int ShowBounds(const Arguments& args) {
  std::vector<std::pair<std::string, Report>> reports;
  uint64_t violations = 0;
  for (const bool colluding : {false, true}) {
    for (const double liars : {0.01, 0.05, 0.2, 0.4}) {
      auto& [name, sum] = reports.emplace_back(
          fmt::format("{:.0f} %{}", 100 * liars, colluding ? ", colluding" : ""), Report());
      for (uint64_t run = 0; run < args.runs; ++run) {
        Options options = args.options;
        options.seed += run;
        options.liars = liars;
        options.colluding = colluding;
        Add(Simulation(options).Run(), &sum);
      }
      violations += sum.violations;
      for (const std::string& message : sum.messages) fmt::print("{}\n", message);
    }
  }
  fmt::print("{}violations: {}\n", BoundsTable(reports), violations);
  return violations == 0 ? 0 : 1;
}

int Run(Arguments args) {
  Options& options = args.options;
  if (args.days == 0 && options.fault_events == 0) args.days = 1;
  options.fault_ms = std::llround(args.days * kDayMs);
  options.store = args.store == "sqlite" ? StoreKind::kSqlite : StoreKind::kMemory;
  options.faults = !args.no_faults;
  if (args.bounds) return ShowBounds(args);
  const int64_t start_ms = SystemClock().MonotonicMs();
  Report sum;
  for (uint64_t run = 0; run < args.runs; ++run) {
    ShowProgress(&options, run, args.runs);
    Add(Simulation(options).Run(), &sum);
    ++options.seed;
  }
  if (isatty(STDERR_FILENO) != 0) fmt::print(stderr, "\r\x1b[K");
  const int64_t elapsed_ms = SystemClock().MonotonicMs() - start_ms;
  fmt::print("{}", args.json ? ToJson(sum, elapsed_ms) : ToText(sum, elapsed_ms));
  return sum.violations == 0 ? 0 : 1;
}

}  // namespace
}  // namespace corpgrid::sim

int main(int argc, char** argv) {
  CLI::App app(corpgrid::sim::kAbout, "corpgrid-sim");
  corpgrid::sim::Arguments args;
  corpgrid::sim::Declare(&app, &args);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : 2;
  }
  return corpgrid::sim::Run(std::move(args));
}
