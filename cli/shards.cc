#include "cli/shards.h"

#include <string.h>

#include <algorithm>
#include <set>

#include "base/status_macros.h"
#include "base/text.h"
#include "cli/table.h"
#include "fmt/format.h"
#include "job/statement.h"

namespace corpgrid::cli {
namespace {

namespace v1 = corpgrid::v1;

constexpr uint32_t kPage = 500;

uint32_t DistinctVotes(const v1::Shard& shard, job::Distinct distinct) {
  std::set<std::string> voters;
  for (const v1::Attempt& attempt : shard.attempts()) {
    if (attempt.state() != "agreed") continue;
    voters.insert(distinct == job::Distinct::kOwner ? attempt.owner()
                                                    : std::to_string(attempt.device_id()));
  }
  return static_cast<uint32_t>(voters.size());
}

}  // namespace

absl::Status ForEachShard(Client& client, uint64_t job_id, uint32_t first,
                          const std::function<absl::Status(const v1::Shard&)>& visit) {
  while (true) {
    ASSIGN_OR_RETURN(const v1::ListShardsResponse page, client.ListShards(job_id, first, kPage));
    if (page.shards().empty()) return absl::OkStatus();
    for (const v1::Shard& shard : page.shards()) {
      RETURN_IF_ERROR(visit(shard));
      first = shard.index() + 1;
    }
  }
}

absl::StatusOr<v1::Shard> GetShard(Client& client, uint64_t job_id, uint32_t index) {
  ASSIGN_OR_RETURN(const v1::ListShardsResponse page, client.ListShards(job_id, index, 1));
  if (page.shards().empty() || page.shards(0).index() != index) {
    return absl::NotFoundError(fmt::format(
        "job {} has no shard {} that ever ran: corpgrid job show {}", job_id, index, job_id));
  }
  return page.shards(0);
}

void JobReport::Add(const v1::Shard& shard) {
  for (const v1::Attempt& attempt : shard.attempts()) {
    const bool agreed = attempt.state() == "agreed";
    const bool disagreed = attempt.state() == "disagreed";
    if (!agreed && !disagreed) continue;
    DeviceWork& work = devices[attempt.device_id()];
    work.name = attempt.device_name();
    work.owner = attempt.owner();
    work.agreed += agreed ? 1 : 0;
    work.disagreed += disagreed ? 1 : 0;
    work.cpu_ms += attempt.cpu_ms();
  }
  if (shard.state() == "done") {
    ++done;
    const bool by_trusted =
        std::any_of(shard.attempts().begin(), shard.attempts().end(),
                    [&](const v1::Attempt& a) { return a.id() == shard.winner() && a.trusted(); });
    if (by_trusted) ++trusted;
    if (by_trusted || DistinctVotes(shard, distinct) >= quorum) ++verified;
  }
  if (shard.state() == "failed" && failures.size() < kMaxFailures) {
    FailedShard failure{.index = shard.index(), .error = shard.error(), .attempt = {}};
    if (const v1::Attempt* attempt = TellingAttempt(shard)) failure.attempt = *attempt;
    failures.push_back(std::move(failure));
  }
}

JobReport EmptyReport(const job::JobSpec& spec) {
  JobReport report;
  report.shards = spec->shards;
  report.quorum = spec->redundancy.quorum;
  report.has_bound = spec->redundancy.max_error > 0;
  report.distinct = spec->redundancy.distinct;
  return report;
}

absl::StatusOr<JobReport> ReportOf(Client& client, uint64_t job_id, const job::JobSpec& spec) {
  JobReport report = EmptyReport(spec);
  RETURN_IF_ERROR(ForEachShard(client, job_id, 0, [&](const v1::Shard& shard) {
    report.Add(shard);
    return absl::OkStatus();
  }));
  return report;
}

Json ToJson(const JobReport& report) {
  Json devices = Json::array();
  for (const auto& [id, work] : report.devices) {
    devices.push_back({{"id", id},
                       {"name", work.name},
                       {"owner", work.owner},
                       {"results_agreed", work.agreed},
                       {"results_disagreed", work.disagreed},
                       {"cpu_ms", work.cpu_ms}});
  }
  Json failures = Json::array();
  for (const FailedShard& failure : report.failures) {
    failures.push_back({{"shard", failure.index},
                        {"error", failure.error},
                        {"attempt_id", failure.attempt.id()},
                        {"device_name", failure.attempt.device_name()},
                        {"outcome", OutcomeText(failure.attempt)}});
  }
  Json json;
  json["shards"] = report.shards;
  json["shards_done"] = report.done;
  json["verified"] = report.verified;
  json["trusted"] = report.trusted;
  json["quorum"] = report.quorum;
  json["distinct"] = std::string(job::ToText(report.distinct));
  json["devices"] = std::move(devices);
  json["failures"] = std::move(failures);
  return json;
}

std::string DeviceTable(const JobReport& report) {
  Table table({{"DEVICE"}, {"OWNER"}, {"RESULTS", true}, {"WRONG", true}, {"CPU TIME", true}});
  for (const auto& [id, work] : report.devices) {
    table.AddRow({work.name, work.owner, std::to_string(work.agreed + work.disagreed),
                  std::to_string(work.disagreed), FormatDuration(work.cpu_ms)});
  }
  return table.ToText();
}

std::string VerifiedLine(const JobReport& report) {
  if (report.has_bound) {
    return fmt::format("{}/{} shards done, {} of them by trusted devices", report.done,
                       report.shards, report.trusted);
  }
  if (report.quorum < 2) {
    return fmt::format("{}/{} shards done; nothing was compared (redundancy: quorum 1)",
                       report.done, report.shards);
  }
  std::string line =
      fmt::format("verified {}/{}: equal results from {} different {} for each shard",
                  report.verified, report.shards, report.quorum,
                  report.distinct == job::Distinct::kOwner ? "owners" : "devices");
  if (report.trusted > 0) line += fmt::format(", or for {} a trusted device's", report.trusted);
  return line;
}

std::string BoundText(const v1::Job& job) {
  const std::string audits =
      fmt::format("{} of {} results checked by trusted devices, {} found wrong and mended",
                  job.shards_checked(), job.shards_done(), job.found_wrong());
  if (!job.has_error_bound()) return audits;
  if (job.shards_unsampled() == job.shards_done()) {
    return "unknown: no trusted device could check results; see corpgrid device trust --help";
  }
  return fmt::format("at most {:.3g} % (95 % sure); {}", 100 * job.error_bound(), audits);
}

std::string OutcomeText(const v1::Attempt& attempt) {
  const std::string& outcome = attempt.outcome();
  if (outcome == job::ToText(job::Outcome::kExited)) {
    return fmt::format("exit code {}", attempt.exit_code());
  }
  if (outcome == job::ToText(job::Outcome::kSignaled)) {
    const char* name = sigabbrev_np(attempt.exit_code());
    return name == nullptr ? fmt::format("killed by signal {}", attempt.exit_code())
                           : fmt::format("killed by SIG{}", name);
  }
  if (outcome == job::ToText(job::Outcome::kNotStarted)) {
    return fmt::format("the command could not be started ({})", strerror(attempt.exit_code()));
  }
  return outcome;
}

const v1::Attempt* TellingAttempt(const v1::Shard& shard) {
  const v1::Attempt* telling = nullptr;
  for (const v1::Attempt& attempt : shard.attempts()) {
    if (attempt.outcome().empty()) continue;
    if (attempt.state() == "agreed") return &attempt;
    telling = &attempt;
  }
  return telling;
}

std::string ShardTable(const v1::Job& job, const std::vector<v1::Shard>& shards) {
  Table table({{"SHARD", true}, {"STATE"}, {"TRIES", true}, {"ATTEMPTS"}});
  for (const v1::Shard& shard : shards) {
    std::string attempts;
    for (const v1::Attempt& attempt : shard.attempts()) {
      attempts += fmt::format("{}{} {}", attempts.empty() ? "" : ", ", attempt.device_name(),
                              attempt.state());
      const bool plain = attempt.outcome().empty() || OutcomeText(attempt) == "exit code 0";
      if (!plain) attempts += fmt::format(" ({})", OutcomeText(attempt));
    }
    const bool given_up = HasEnded(job) && shard.state() != "done" && shard.state() != "failed";
    table.AddRow({std::to_string(shard.index()), given_up ? "given up" : shard.state(),
                  std::to_string(shard.tries()),
                  attempts + (shard.error().empty() ? "" : ": " + shard.error())});
  }
  return table.ToText();
}

}  // namespace corpgrid::cli
