#include <algorithm>
#include <memory>

#include "base/clock.h"
#include "base/status_macros.h"
#include "base/text.h"
#include "cli/client.h"
#include "cli/commands.h"
#include "cli/job_run.h"
#include "cli/results.h"
#include "cli/shards.h"
#include "cli/table.h"
#include "fmt/format.h"

namespace corpgrid::cli {
namespace {

namespace v1 = corpgrid::v1;

// What the job commands take, each what it needs.
struct JobArguments {
  uint64_t job_id = 0;
  std::vector<uint64_t> job_ids;
  SubmitArguments submit;
  std::string folder;
  uint32_t limit = 20;
  bool shards = false;
  bool watch = true;
  int64_t shard = -1;
  uint64_t attempt_id = 0;
  bool only_stderr = false;
};

std::string Ago(int64_t wall_ms) { return FormatAgo(SystemClock().WallMs() - wall_ms); }

std::string Took(const v1::Job& job) {
  if (job.submitted_wall_ms() == 0) return "";
  const int64_t end_ms = HasEnded(job) ? job.finished_wall_ms() : SystemClock().WallMs();
  return FormatDuration(std::max<int64_t>(end_ms - job.submitted_wall_ms(), 0));
}

std::string StateText(const v1::Job& job) {
  std::string text =
      fmt::format("{}, {}/{} shards done", job.state(), job.shards_done(), job.shards());
  if (job.shards_failed() > 0) text += fmt::format(", {} failed", job.shards_failed());
  if (!HasEnded(job)) {
    text += fmt::format(" ({:.0f}%), {} running", job.progress() * 100, job.attempts_running());
  }
  return text;
}

absl::Status List(const Common& common, const JobArguments& arguments) {
  ASSIGN_OR_RETURN(const auto client, Client::Open(common.data_folder));
  ASSIGN_OR_RETURN(const v1::ListJobsResponse list, client->ListJobs(0, arguments.limit));
  if (common.json) {
    Json json = ToJson(list);
    for (Json& job : json["jobs"]) job.erase("spec");
    PrintJson(json);
    return absl::OkStatus();
  }
  Table table({{"ID", true},
               {"NAME"},
               {"PROJECT"},
               {"STATE"},
               {"SHARDS", true},
               {"SUBMITTED"},
               {"TOOK", true}});
  for (const v1::Job& job : list.jobs()) {
    table.AddRow({std::to_string(job.id()), job.name(), job.project(), job.state(),
                  fmt::format("{}/{}", job.shards_done(), job.shards()),
                  Ago(job.submitted_wall_ms()), Took(job)});
  }
  Print(table.empty() ? "no jobs yet: corpgrid job run FILE\n" : table.ToText());
  return absl::OkStatus();
}

absl::Status Show(const Common& common, const JobArguments& arguments) {
  ASSIGN_OR_RETURN(const auto client, Client::Open(common.data_folder));
  ASSIGN_OR_RETURN(const v1::Job job, client->GetJob(arguments.job_id));
  ASSIGN_OR_RETURN(const job::JobSpec spec, job::JobSpec::Decode(job.spec()));
  JobReport report = EmptyReport(spec);
  std::vector<v1::Shard> shards;
  RETURN_IF_ERROR(ForEachShard(*client, job.id(), 0, [&](const v1::Shard& shard) {
    report.Add(shard);
    if (arguments.shards) shards.push_back(shard);
    return absl::OkStatus();
  }));
  if (common.json) {
    Json json = ToJson(job);
    json["spec"] = ToJson(spec);
    json["report"] = ToJson(report);
    if (arguments.shards) {
      json["shard_list"] = Json::array();
      for (const v1::Shard& shard : shards) json["shard_list"].push_back(ToJson(shard));
    }
    PrintJson(json);
    return absl::OkStatus();
  }
  Details details;
  details.Add("job", fmt::format("{} ({})", job.id(), job.name()));
  details.Add("project", job.project());
  details.Add("state", StateText(job));
  if (!job.error().empty()) details.Add("error", job.error());
  details.Add("submitted", fmt::format("{} ({})", FormatLocalTime(job.submitted_wall_ms()),
                                       Ago(job.submitted_wall_ms())));
  details.Add(HasEnded(job) ? "took" : "so far", Took(job));
  details.Add("submitter", job.submitter_key());
  details.Add("bundle", Hex(job.bundle_hash()));
  if (job.state() == "done") details.Add("verdict", VerifiedLine(report));
  if (job.shards_done() > 0) details.Add("wrong", BoundText(job));
  Print(details.ToText() + "\n" + ToYaml(spec));
  if (!report.devices.empty()) Print("\n" + DeviceTable(report));
  if (arguments.shards) Print("\n" + ShardTable(job, shards));
  return absl::OkStatus();
}

// Prints one attempt's output; `title` tells it from others.
absl::Status PrintLogs(const Common& common, Client& client, const JobArguments& arguments,
                       uint64_t attempt_id, const std::string& title, Json* list) {
  ASSIGN_OR_RETURN(const v1::LogsResponse logs, client.Logs(attempt_id));
  if (common.json) {
    Json entry;
    entry["attempt_id"] = attempt_id;
    entry.update(ToJson(logs));
    list->push_back(std::move(entry));
    return absl::OkStatus();
  }
  const bool nothing = logs.stdout_tail().empty() && logs.stderr_tail().empty();
  if (nothing && title.empty()) Say(fmt::format("attempt {} printed nothing", attempt_id));
  if (!title.empty()) Print(title + "\n");
  if (!arguments.only_stderr) Print(logs.stdout_tail());
  if (arguments.only_stderr) {
    Print(logs.stderr_tail());
  } else if (!logs.stderr_tail().empty()) {
    Say(logs.stderr_tail());
  }
  return absl::OkStatus();
}

absl::Status Logs(const Common& common, const JobArguments& arguments) {
  ASSIGN_OR_RETURN(const auto client, Client::Open(common.data_folder));
  Json list = Json::array();
  const auto print = [&](uint64_t attempt_id, const std::string& title) {
    return PrintLogs(common, *client, arguments, attempt_id, title, &list);
  };
  if (arguments.attempt_id != 0) {
    RETURN_IF_ERROR(print(arguments.attempt_id, ""));
  } else if (arguments.shard >= 0) {
    ASSIGN_OR_RETURN(const v1::Shard shard,
                     GetShard(*client, arguments.job_id, static_cast<uint32_t>(arguments.shard)));
    const v1::Attempt* attempt = TellingAttempt(shard);
    if (attempt == nullptr) {
      return absl::NotFoundError(fmt::format(
          "shard {} is {}: no attempt has handed anything in yet", shard.index(), shard.state()));
    }
    RETURN_IF_ERROR(print(attempt->id(), ""));
  } else {
    ASSIGN_OR_RETURN(const v1::Job job, client->GetJob(arguments.job_id));
    RETURN_IF_ERROR(
        ForEachShard(*client, arguments.job_id, 0, [&](const v1::Shard& shard) -> absl::Status {
          const v1::Attempt* attempt = TellingAttempt(shard);
          if (attempt == nullptr) return absl::OkStatus();
          return print(attempt->id(),
                       job.shards() == 1
                           ? ""
                           : fmt::format("== shard {} on {} (attempt {})", shard.index(),
                                         Printable(attempt->device_name()), attempt->id()));
        }));
  }
  if (common.json) PrintJson(Json{{"logs", list}});
  return absl::OkStatus();
}

absl::Status Results(const Common& common, const JobArguments& arguments) {
  ASSIGN_OR_RETURN(const auto client, Client::Open(common.data_folder));
  ASSIGN_OR_RETURN(const v1::Job job, client->GetJob(arguments.job_id));
  ASSIGN_OR_RETURN(const job::JobSpec spec, job::JobSpec::Decode(job.spec()));
  if (spec->outputs.empty()) {
    return absl::FailedPreconditionError(fmt::format(
        "job {} names no outputs; what it printed: corpgrid job logs {}", job.id(), job.id()));
  }
  const std::string folder = ResultsFolder(job, arguments.folder);
  ASSIGN_OR_RETURN(const Download download, FetchResults(*client, job, folder));
  if (common.json) {
    PrintJson(Json{{"folder", folder},
                   {"files", download.files},
                   {"bytes", download.bytes},
                   {"files_kept", download.kept}});
    return absl::OkStatus();
  }
  Print(fmt::format("{} files, {}, in {}{}\n", download.files, FormatBytes(download.bytes), folder,
                    download.kept == 0 ? "" : fmt::format(" ({} were there)", download.kept)));
  if (!HasEnded(job)) {
    Say(fmt::format("the job still runs: {}/{} shards are done", job.shards_done(), job.shards()));
  }
  return absl::OkStatus();
}

absl::Status Cancel(const Common& common, const JobArguments& arguments) {
  ASSIGN_OR_RETURN(const auto client, Client::Open(common.data_folder));
  ASSIGN_OR_RETURN(const v1::Job job, client->CancelJob(arguments.job_id));
  if (common.json) {
    Json json = ToJson(job);
    json.erase("spec");
    PrintJson(json);
  } else if (job.state() == "cancelled") {
    Print(fmt::format("job {} ({}) is cancelled\n", job.id(), Printable(job.name())));
  } else {
    Print(fmt::format("job {} ({}) had ended before: {}\n", job.id(), Printable(job.name()),
                      job.state()));
  }
  return absl::OkStatus();
}

absl::Status Remove(const Common& common, const JobArguments& arguments) {
  ASSIGN_OR_RETURN(const auto client, Client::Open(common.data_folder));
  for (const uint64_t id : arguments.job_ids) {
    RETURN_IF_ERROR(client->RemoveJob(id));
    if (!common.json) Print(fmt::format("job {} is removed, with its results\n", id));
  }
  if (common.json) PrintJson(Json{{"removed", arguments.job_ids}});
  return absl::OkStatus();
}

absl::Status Why(const Common& common, const JobArguments& arguments) {
  ASSIGN_OR_RETURN(const auto client, Client::Open(common.data_folder));
  ASSIGN_OR_RETURN(const v1::WhyResponse why, client->WhyJob(arguments.job_id));
  if (common.json) {
    PrintJson(ToJson(why));
    return absl::OkStatus();
  }
  for (const std::string& sentence : why.sentences()) Print(Printable(sentence) + "\n");
  return absl::OkStatus();
}

absl::Status Submit(const Common& common, const JobArguments& arguments) {
  ASSIGN_OR_RETURN(const auto client, Client::Open(common.data_folder));
  ASSIGN_OR_RETURN(const Submission submission, SubmitFile(*client, arguments.submit));
  if (common.json) {
    PrintJson(Json{{"job_id", submission.job_id}, {"existed", submission.existed}});
    return absl::OkStatus();
  }
  Print(submission.existed
            ? fmt::format("job {} had been submitted with this key before\n", submission.job_id)
            : fmt::format("job {} is submitted\n", submission.job_id));
  Say(fmt::format("  watch it and fetch its results:  corpgrid job watch {} --out DIR",
                  submission.job_id));
  return absl::OkStatus();
}

int Run(const Common& common, const JobArguments& arguments) {
  const auto client = Client::Open(common.data_folder);
  if (!client.ok()) return Fail(common, client.status());
  const auto submission = SubmitFile(**client, arguments.submit);
  if (!submission.ok()) return Fail(common, submission.status());
  Say(fmt::format("job {} is submitted", submission->job_id));
  return FollowJob(common, **client, submission->job_id, arguments.folder);
}

int Watch(const Common& common, const JobArguments& arguments) {
  const auto client = Client::Open(common.data_folder);
  if (!client.ok()) return Fail(common, client.status());
  return FollowJob(common, **client, arguments.job_id, arguments.folder);
}

// Makes the commands of `corpgrid job`.
class JobTree {
 public:
  JobTree(CommandTree& tree, CLI::App* group) : tree_(tree), group_(group) {}

  using Command = absl::Status (*)(const Common&, const JobArguments&);
  using CodeCommand = int (*)(const Common&, const JobArguments&);

  CLI::App* Add(const std::string& name, const std::string& description,
                const std::string& examples, Command command) {
    return AddCommand(tree_, group_, name, description, examples,
                      [&common = tree_.common, arguments = arguments_, command]() -> int {
                        const absl::Status status = command(common, *arguments);
                        return status.ok() ? kExitDone : Fail(common, status);
                      });
  }
  CLI::App* AddWithCode(const std::string& name, const std::string& description,
                        const std::string& examples, CodeCommand command) {
    return AddCommand(tree_, group_, name, description, examples,
                      [&common = tree_.common, arguments = arguments_, command] {
                        return command(common, *arguments);
                      });
  }

  void TakeFile(CLI::App* command) {
    command->add_option("file", arguments_->submit.file, "The job file (YAML)")
        ->type_name("FILE")
        ->required();
    command
        ->add_option("--key", arguments_->submit.idempotency_key,
                     "Submitting again with the same key makes no second job")
        ->type_name("KEY");
    command
        ->add_option("--after", arguments_->submit.overrides.after,
                     "Begin when this job is done; may be given several times")
        ->type_name("JOB");
    command
        ->add_option("--priority", arguments_->submit.overrides.priority,
                     "Higher ones go first (default: the file's, else 0)")
        ->type_name("N");
    command
        ->add_option("--project", arguments_->submit.overrides.project,
                     "Whose share and quotas it counts against (default: the file's, else default)")
        ->type_name("PROJECT");
  }
  void TakeJob(CLI::App* command) {
    command->add_option("job", arguments_->job_id, "The job's id")->type_name("JOB")->required();
  }
  void TakeFolder(CLI::App* command, const std::string& what) {
    command->add_option("--out", arguments_->folder, what)->type_name("DIR");
  }
  JobArguments& arguments() { return *arguments_; }

 private:
  CommandTree& tree_;
  CLI::App* group_;
  std::shared_ptr<JobArguments> arguments_ = std::make_shared<JobArguments>();
};

void AddReadingCommands(JobTree& jobs) {
  CLI::App* list = jobs.Add("list", "The latest jobs", "  corpgrid job list --limit 100", List);
  list->add_option("--limit", jobs.arguments().limit, "How many at most")
      ->capture_default_str()
      ->type_name("N");

  CLI::App* show = jobs.Add("show", "One job: its state, its spec and who computed it",
                            "  corpgrid job show 7\n  corpgrid job show 7 --shards --json", Show);
  jobs.TakeJob(show);
  show->add_flag("--shards", jobs.arguments().shards, "Every shard with its attempts");

  CLI::App* logs = jobs.Add("logs", "What a job's commands printed",
                            "  corpgrid job logs 7                 of every shard\n"
                            "  corpgrid job logs 7 --shard 3       of one\n"
                            "  corpgrid job logs 7 --attempt 12    of one device's try at a shard",
                            Logs);
  jobs.TakeJob(logs);
  logs->add_option("--shard", jobs.arguments().shard, "Only this shard")->type_name("N");
  logs->add_option("--attempt", jobs.arguments().attempt_id, "Only this attempt")->type_name("A");
  logs->add_flag("--stderr", jobs.arguments().only_stderr, "Only stderr, to stdout");

  CLI::App* why =
      jobs.Add("why", "Why a job waits, or ended as it did", "  corpgrid job why 7", Why);
  jobs.TakeJob(why);
}

}  // namespace

void AddJobCommands(CommandTree& tree) {
  JobTree jobs(tree, AddGroup(tree, "job", "Run jobs and look after them"));

  CLI::App* run = jobs.AddWithCode("run", "Submit a job, watch it to its end and fetch its results",
                                   "  corpgrid job run job.yaml --out results\n"
                                   "  corpgrid job run job.yaml --out results --json > job.json",
                                   Run);
  jobs.TakeFile(run);
  jobs.TakeFolder(run, "Fetch the results to DIR/SHARD/NAME");
  run->add_flag("--watch", jobs.arguments().watch, "Watch the job to its end; run always does");

  CLI::App* submit = jobs.Add("submit", "Submit a job and leave it to the grid",
                              "  corpgrid job submit job.yaml\n"
                              "  corpgrid job submit job.yaml --key nightly-2024-05-17\n"
                              "  corpgrid job submit merge.yaml --after 7 --after 8\n"
                              "  corpgrid job submit job.yaml --project research",
                              Submit);
  jobs.TakeFile(submit);

  CLI::App* watch = jobs.AddWithCode("watch", "Watch a job to its end and fetch its results",
                                     "  corpgrid job watch 7 --out results", Watch);
  jobs.TakeJob(watch);
  jobs.TakeFolder(watch, "Fetch the results to DIR/SHARD/NAME");

  AddReadingCommands(jobs);

  CLI::App* results = jobs.Add("results", "Fetch a job's results, those that are not there yet",
                               "  corpgrid job results 7 --out results", Results);
  jobs.TakeJob(results);
  jobs.TakeFolder(results, "Where they go (default: ./NAME-ID)");

  CLI::App* cancel = jobs.Add("cancel", "End a job", "  corpgrid job cancel 7", Cancel);
  jobs.TakeJob(cancel);

  CLI::App* remove = jobs.Add("remove", "Forget jobs that have ended, and delete their results",
                              "  corpgrid job remove 7 8", Remove);
  remove->add_option("jobs", jobs.arguments().job_ids, "The jobs' ids")
      ->type_name("JOB")
      ->required();
}

}  // namespace corpgrid::cli
