#include "sim/report.h"

#include <algorithm>

#include "base/text.h"
#include "fmt/format.h"
#include "nlohmann/json.hpp"

namespace corpgrid::sim {
namespace {

constexpr size_t kMaxMessages = 20;
constexpr double kDayMs = 86'400'000;

int64_t EventsASecond(const Report& report, int64_t elapsed_ms) {
  return static_cast<int64_t>(report.events) * 1000 / std::max<int64_t>(elapsed_ms, 1);
}

size_t KindsThatStruck(const Report& report) {
  return static_cast<size_t>(std::count_if(report.faults.begin(), report.faults.end(),
                                           [](uint64_t count) { return count > 0; }));
}

}  // namespace

std::string CommandOf(const Options& options) {
  std::string line =
      fmt::format("corpgrid-sim --seed {} --devices {}", options.seed, options.devices);
  if (options.fault_ms > 0) {
    line += fmt::format(" --days {}", static_cast<double>(options.fault_ms) / kDayMs);
  }
  if (options.fault_events > 0) line += fmt::format(" --events {}", options.fault_events);
  if (options.store == StoreKind::kSqlite) line += " --store sqlite";
  if (options.liars) line += fmt::format(" --liars {}", *options.liars);
  if (options.colluding) line += " --colluding";
  if (!options.faults) line += " --no-faults";
  return line;
}

void Add(const Report& run, Report* sum) {
  sum->runs += run.runs;
  sum->events += run.events;
  sum->simulated_ms += run.simulated_ms;
  sum->calm_ms += run.calm_ms;
  sum->jobs_done += run.jobs_done;
  sum->jobs_failed += run.jobs_failed;
  sum->jobs_cancelled += run.jobs_cancelled;
  sum->jobs_starved += run.jobs_starved;
  sum->shards_done += run.shards_done;
  sum->lies_accepted += run.lies_accepted;
  for (size_t i = 0; i < kFaultKinds; ++i) sum->faults[i] += run.faults[i];
  sum->hash = sum->runs == run.runs
                  ? run.hash
                  : crypto::Blake3(std::string(sum->hash.Raw()) + std::string(run.hash.Raw()));
  sum->violations += run.violations;
  sum->bounds.insert(sum->bounds.end(), run.bounds.begin(), run.bounds.end());
  for (const std::string& message : run.messages) {
    if (sum->messages.size() < kMaxMessages) sum->messages.push_back(message);
  }
  sum->failed.insert(sum->failed.end(), run.failed.begin(), run.failed.end());
}

std::string ToText(const Report& report, int64_t elapsed_ms) {
  std::string text = "faults:\n";
  for (size_t i = 0; i < kFaultKinds; ++i) {
    text += fmt::format("  {:<40}{:>12}\n", ToText(static_cast<Fault>(i)), report.faults[i]);
  }
  text += fmt::format("{} of {} kinds of fault struck in {} of simulated time, {} of them calm\n",
                      KindsThatStruck(report), kFaultKinds, FormatDuration(report.simulated_ms),
                      FormatDuration(report.calm_ms));
  text += fmt::format(
      "jobs: {} done, {} failed with a reason, {} cancelled ({} because no owner was left for "
      "them); {} shards done, {} by owners who lied alike\n",
      report.jobs_done, report.jobs_failed, report.jobs_cancelled, report.jobs_starved,
      report.shards_done, report.lies_accepted);
  text += fmt::format("hash: {}\n", report.hash.Hex());
  text += fmt::format("{} events in {} runs, {} a second\n", report.events, report.runs,
                      EventsASecond(report, elapsed_ms));
  for (const std::string& message : report.messages) text += fmt::format("violation {}\n", message);
  for (const std::string& line : report.failed) text += fmt::format("reproduce: {}\n", line);
  return text + fmt::format("violations: {}\n", report.violations);
}

std::string ToJson(const Report& report, int64_t elapsed_ms) {
  nlohmann::ordered_json faults;
  for (size_t i = 0; i < kFaultKinds; ++i) {
    faults[std::string(ToText(static_cast<Fault>(i)))] = report.faults[i];
  }
  const nlohmann::ordered_json json = {
      {"runs", report.runs},
      {"events", report.events},
      {"events_per_second", EventsASecond(report, elapsed_ms)},
      {"simulated_ms", report.simulated_ms},
      {"calm_ms", report.calm_ms},
      {"jobs_done", report.jobs_done},
      {"jobs_failed", report.jobs_failed},
      {"jobs_cancelled", report.jobs_cancelled},
      {"jobs_starved", report.jobs_starved},
      {"shards_done", report.shards_done},
      {"lies_accepted", report.lies_accepted},
      {"faults", faults},
      {"hash", report.hash.Hex()},
      {"violations", report.violations},
      {"messages", report.messages},
      {"reproduce", report.failed},
  };
  return json.dump() + "\n";
}

}  // namespace corpgrid::sim
