#include "cli/job_run.h"

#include <algorithm>
#include <cctype>
#include <memory>
#include <mutex>
#include <optional>

#include "base/clock.h"
#include "base/status_macros.h"
#include "base/text.h"
#include "cli/data_folder.h"
#include "cli/interrupt.h"
#include "cli/progress_bar.h"
#include "cli/results.h"
#include "cli/shards.h"
#include "cli/table.h"
#include "crypto/signature.h"
#include "fmt/format.h"

namespace corpgrid::cli {
namespace {

namespace v1 = corpgrid::v1;

constexpr int64_t kQuietMs = 1'000;         // quicker work shows no bar
constexpr int64_t kExplainAfterMs = 4'000;  // that long without running shards wants a reason
constexpr size_t kStderrLines = 12;
constexpr size_t kFailuresShown = 3;

// A bar for each stage of a submission that takes its time.
class StageBars {
 public:
  explicit StageBars(std::FILE* out) : out_(out), style_(DetectStyle(out)) {}

  void Show(std::string_view stage, uint64_t done, uint64_t total) {
    if (bar_ == nullptr || stage != stage_) {
      bar_.reset();
      stage_ = stage;
      bar_ = std::make_unique<ProgressBar>(stage_, Unit::kBytes, out_, style_, kQuietMs);
    }
    const double fraction = total == 0 ? 0 : static_cast<double>(done) / static_cast<double>(total);
    bar_->Update({.done = done, .total = total, .fraction = fraction});
  }

 private:
  std::FILE* const out_;
  const BarStyle style_;
  std::string stage_;
  std::unique_ptr<ProgressBar> bar_;
};

// The bar of a job, with a reason above it when nothing runs.
class JobBar {
 public:
  JobBar(Client& client, uint64_t job_id, const std::string& name)
      : client_(client),
        job_id_(job_id),
        bar_(Printable(name), Unit::kShards, stderr, DetectStyle(stderr)),
        idle_since_ms_(SystemClock().MonotonicMs()) {}

  void Update(const v1::Job& job) {
    {
      const std::lock_guard lock(mutex_);
      idle_ = job.attempts_running() == 0 && !HasEnded(job);
      if (!idle_) {
        idle_since_ms_ = SystemClock().MonotonicMs();
        explained_ = false;
      }
    }
    bar_.Update({.done = job.shards_done(), .total = job.shards(), .fraction = job.progress()});
  }

  void Tick() {
    bool explain = false;
    {
      const std::lock_guard lock(mutex_);
      const int64_t idle_ms = SystemClock().MonotonicMs() - idle_since_ms_;
      explain = idle_ && !explained_ && idle_ms >= kExplainAfterMs;
      explained_ = explained_ || explain;
    }
    if (explain) Explain();
    bar_.Tick();
  }

  void Lost() { bar_.Note("lost the grid; trying to reach it again (the job is safe with it)"); }
  void Finish() { bar_.Finish(); }

 private:
  void Explain() {
    const auto why = client_.WhyJob(job_id_);
    if (!why.ok()) return;
    for (const std::string& sentence : why->sentences()) bar_.Note(Printable(sentence));
  }

  Client& client_;
  const uint64_t job_id_;
  ProgressBar bar_;
  std::mutex mutex_;
  bool idle_ = true;
  bool explained_ = false;
  int64_t idle_since_ms_;
};

// The last lines of `text`, each behind a bar and safe for a terminal.
std::string LastLines(std::string_view text, size_t count) {
  std::vector<std::string> lines;
  while (!text.empty()) {
    const size_t end = std::min(text.find('\n'), text.size());
    lines.push_back(fmt::format("    | {}\n", Printable(text.substr(0, end))));
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  std::string tail;
  for (size_t i = lines.size() - std::min(count, lines.size()); i < lines.size(); ++i) {
    tail += lines[i];
  }
  return tail;
}

// One shard; `said` is what the person has read already.
void SayFailure(Client& client, uint64_t job_id, const FailedShard& failure,
                const std::string& said) {
  const v1::Attempt& attempt = failure.attempt;
  std::string line = fmt::format("  shard {}", failure.index);
  if (attempt.id() != 0) {
    line += fmt::format(": {} on {} ({})", OutcomeText(attempt), attempt.device_name(),
                        attempt.owner());
  }
  Say(Printable(line));
  for (const std::string& reason : {failure.error, attempt.detail()}) {
    const bool is_new = said.find(reason) == std::string::npos;
    if (is_new) Say(fmt::format("    {}", Printable(reason)));
  }
  if (attempt.id() == 0) return;
  const auto logs = client.Logs(attempt.id());
  if (!logs.ok() || (logs->stderr_tail().empty() && logs->stdout_tail().empty())) return;
  const std::string tail = LastLines(logs->stderr_tail(), kStderrLines);
  if (!tail.empty()) Say("    the end of its stderr:\n" + tail);
  Say(fmt::format("    all it printed: corpgrid job logs {} --shard {}", job_id, failure.index));
}

void SayFailed(Client& client, const v1::Job& job, const JobReport& report) {
  Say(fmt::format("job {} ({}) {}{}", job.id(), Printable(job.name()), job.state(),
                  job.error().empty() ? "" : ": " + Printable(job.error())));
  for (size_t i = 0; i < std::min(kFailuresShown, report.failures.size()); ++i) {
    SayFailure(client, job.id(), report.failures[i], job.error());
  }
  if (report.failures.size() > kFailuresShown) {
    Say(fmt::format("  and {} more shards: corpgrid job show {} --shards",
                    report.failures.size() - kFailuresShown, job.id()));
  }
  if (job.state() == "failed" && report.failures.empty()) {
    Say(fmt::format("  why: corpgrid job why {}", job.id()));
  }
}

Json JobJson(const v1::Job& job, const JobReport& report, const std::string& folder,
             const std::optional<Download>& download) {
  Json json;
  json["job_id"] = job.id();
  json["name"] = job.name();
  json["state"] = job.state();
  json["error"] = job.error();
  json["duration_ms"] = job.finished_wall_ms() - job.submitted_wall_ms();
  json.update(ToJson(report));
  json["results"] = nullptr;
  if (download) {
    json["results"] = {{"folder", folder}, {"files", download->files}, {"bytes", download->bytes}};
  }
  return json;
}

void SayDone(const v1::Job& job, const JobReport& report, const job::JobSpec& spec,
             const std::string& folder, const std::optional<Download>& download) {
  const size_t devices = report.devices.size();
  Say(fmt::format("{} (job {}) done in {} on {} device{}", Printable(job.name()), job.id(),
                  FormatDuration(job.finished_wall_ms() - job.submitted_wall_ms()), devices,
                  devices == 1 ? "" : "s") +
      "\n\n");
  Say(DeviceTable(report) + "\n" + VerifiedLine(report));
  if (download) {
    Say(fmt::format("results: {} ({} files, {})", folder, download->files,
                    FormatBytes(download->bytes)));
  } else if (spec->outputs.empty()) {
    Say(fmt::format("what it printed: corpgrid job logs {}", job.id()));
  } else {
    Say(fmt::format("its results: corpgrid job results {} --out DIR", job.id()));
  }
}

// Tells what became of a job that has ended, and with `folder` fetches what it made.
absl::StatusOr<int> Conclude(const Common& common, Client& client, uint64_t job_id,
                             std::string folder) {
  ASSIGN_OR_RETURN(const v1::Job job, client.GetJob(job_id));
  ASSIGN_OR_RETURN(const job::JobSpec spec, job::JobSpec::Decode(job.spec()));
  ASSIGN_OR_RETURN(const JobReport report, ReportOf(client, job_id, spec));
  const bool done = job.state() == "done";
  std::optional<Download> download;
  if (done && !folder.empty()) {
    folder = AbsoluteFolder(folder);
    ASSIGN_OR_RETURN(download, FetchResults(client, job, folder));
  }
  if (common.json) {
    PrintJson(JobJson(job, report, folder, download));
  } else if (done) {
    SayDone(job, report, spec, folder, download);
  }
  if (!done) SayFailed(client, job, report);
  return done ? kExitDone : kExitFailed;
}

}  // namespace

absl::StatusOr<Submission> SubmitFile(Client& client, const SubmitArguments& arguments) {
  StageBars bars(stderr);
  const auto progress = [&](std::string_view stage, uint64_t done, uint64_t total) {
    bars.Show(stage, done, total);
  };
  ASSIGN_OR_RETURN(const PreparedJob job,
                   PrepareJob(arguments.file, arguments.overrides, progress));
  ASSIGN_OR_RETURN(const crypto::KeyPair key,
                   crypto::KeyPair::LoadOrCreate(SubmitterKeyPath(client.data_folder())));
  const std::string idempotency_key =
      arguments.idempotency_key.empty() ? NewIdempotencyKey() : arguments.idempotency_key;
  return SubmitJob(client, key, job, idempotency_key, progress);
}

std::string ResultsFolder(const v1::Job& job, const std::string& folder) {
  if (!folder.empty()) return AbsoluteFolder(folder);
  std::string name;
  for (const char c : job.name()) {
    const bool plain = std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '-' || c == '_' ||
                       (c == '.' && !name.empty());
    name += plain ? c : '_';
  }
  return AbsoluteFolder(fmt::format("{}-{}", name, job.id()));
}

absl::StatusOr<Download> FetchResults(Client& client, const v1::Job& job,
                                      const std::string& folder) {
  ProgressBar bar("fetching results", Unit::kBytes, stderr, DetectStyle(stderr), kQuietMs);
  return DownloadResults(client, job.id(), folder, [&](uint64_t done, uint64_t total) {
    bar.Update(
        {.done = done,
         .total = total,
         .fraction = total == 0 ? 0 : static_cast<double>(done) / static_cast<double>(total)});
  });
}

int FollowJob(const Common& common, Client& client, uint64_t job_id, const std::string& folder) {
  const InterruptFlag interrupt;
  const absl::StatusOr<v1::Job> first = client.GetJob(job_id);
  if (!first.ok()) return Fail(common, first.status());
  JobBar bar(client, job_id, first->name());
  const absl::StatusOr<v1::Job> ended =
      client.WatchJob(job_id,
                      {.on_job = [&](const v1::Job& job) { bar.Update(job); },
                       .on_lost = [&] { bar.Lost(); },
                       .on_tick = [&] { bar.Tick(); }},
                      interrupt.raised());
  bar.Finish();
  if (absl::IsCancelled(ended.status())) {
    Say(
        fmt::format("job {} goes on without you\n"
                    "  watch it again:   corpgrid job watch {}\n"
                    "  end it:           corpgrid job cancel {}",
                    job_id, job_id, job_id));
    return kExitInterrupted;
  }
  if (!ended.ok()) return Fail(common, ended.status());
  const absl::StatusOr<int> code = Conclude(common, client, job_id, folder);
  return code.ok() ? *code : Fail(common, code.status());
}

}  // namespace corpgrid::cli
