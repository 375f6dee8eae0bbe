#include <algorithm>
#include <charconv>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/status_macros.h"
#include "base/text.h"
#include "cli/client.h"
#include "cli/commands.h"
#include "cli/table.h"
#include "fmt/format.h"

namespace corpgrid::cli {
namespace {

namespace v1 = corpgrid::v1;

// What `project set` takes, as it was written; empty where nothing was.
struct SetArguments {
  std::string name;
  std::string weight;
  std::string cpus, memory, gpus, running, queued;
};

absl::StatusOr<uint64_t> NumberIn(const std::string& text, const std::string& option,
                                  std::string_view or_what) {
  uint64_t number = 0;
  const char* end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data(), end, number);
  constexpr uint64_t kMost = 1'000'000'000'000;
  if (error == std::errc() && stop == end && number <= kMost) return number;
  return absl::InvalidArgumentError(
      fmt::format("{}: expected a whole number{}, got \"{}\"", option, or_what, text));
}

absl::StatusOr<v1::SetProjectRequest> ToRequest(const SetArguments& arguments) {
  v1::SetProjectRequest request;
  request.set_name(arguments.name);
  if (!arguments.weight.empty()) {
    ASSIGN_OR_RETURN(const uint64_t weight, NumberIn(arguments.weight, "--weight", ""));
    request.set_weight(static_cast<uint32_t>(std::min<uint64_t>(weight, UINT32_MAX)));
  }
  const struct {
    const std::string& text;
    std::string option;
    std::string field;
    void (v1::Quotas::*set)(uint64_t);
    bool bytes = false;
  } limits[] = {{arguments.cpus, "--max-cpus", "max_cpus", &v1::Quotas::set_max_cpus},
                {arguments.memory, "--max-memory", "max_memory_bytes",
                 &v1::Quotas::set_max_memory_bytes, true},
                {arguments.gpus, "--max-gpus", "max_gpus", &v1::Quotas::set_max_gpus},
                {arguments.running, "--max-running", "max_running", &v1::Quotas::set_max_running},
                {arguments.queued, "--max-queued", "max_queued", &v1::Quotas::set_max_queued}};
  for (const auto& limit : limits) {
    if (limit.text.empty()) continue;
    if (limit.text == "none") {
      request.add_lift(limit.field);
      continue;
    }
    const absl::StatusOr<uint64_t> value =
        limit.bytes ? ParseBytes(limit.text) : NumberIn(limit.text, limit.option, " or none");
    if (!value.ok() && limit.bytes) {
      return absl::InvalidArgumentError(fmt::format(
          "{}: expected a size as in 64GiB, or none, got \"{}\"", limit.option, limit.text));
    }
    RETURN_IF_ERROR(value.status());
    (request.mutable_quotas()->*limit.set)(*value);
  }
  return request;
}

// "4 of 8", or "4" without a limit.
std::string OfLimit(const std::string& used, bool limited, const std::string& limit) {
  return limited ? fmt::format("{} of {}", used, limit) : used;
}

std::string OfLimit(uint64_t used, bool limited, uint64_t limit) {
  return OfLimit(std::to_string(used), limited, std::to_string(limit));
}

std::vector<std::string> Cells(const v1::Project& project) {
  const v1::Quotas& quotas = project.quotas();
  return {project.name(),
          std::to_string(project.weight()),
          fmt::format("{:.1f} %", 100 * project.dominant_share()),
          OfLimit(project.cpus_used(), quotas.has_max_cpus(), quotas.max_cpus()),
          OfLimit(FormatBytes(project.memory_bytes_used()), quotas.has_max_memory_bytes(),
                  FormatBytes(quotas.max_memory_bytes())),
          OfLimit(project.gpus_used(), quotas.has_max_gpus(), quotas.max_gpus()),
          OfLimit(project.attempts_running(), quotas.has_max_running(), quotas.max_running()),
          OfLimit(project.jobs_queued(), quotas.has_max_queued(), quotas.max_queued()),
          std::to_string(project.jobs_running())};
}

std::string ProjectTable(const std::vector<v1::Project>& projects) {
  Table table({{"PROJECT"},
               {"WEIGHT", true},
               {"SHARE", true},
               {"CPUS", true},
               {"MEMORY", true},
               {"GPUS", true},
               {"SHARDS", true},
               {"JOBS QUEUED", true},
               {"RUNNING", true}});
  for (const v1::Project& project : projects) table.AddRow(Cells(project));
  return table.ToText();
}

absl::Status Set(const Common& common, const SetArguments& arguments) {
  ASSIGN_OR_RETURN(const v1::SetProjectRequest request, ToRequest(arguments));
  ASSIGN_OR_RETURN(const auto client, Client::Open(common.data_folder));
  ASSIGN_OR_RETURN(const v1::Project project, client->SetProject(request));
  if (common.json) {
    PrintJson(ToJson(project));
  } else {
    Print(ProjectTable({project}));
  }
  return absl::OkStatus();
}

absl::Status List(const Common& common) {
  ASSIGN_OR_RETURN(const auto client, Client::Open(common.data_folder));
  ASSIGN_OR_RETURN(const v1::ListProjectsResponse list, client->ListProjects());
  if (common.json) {
    PrintJson(ToJson(list));
  } else {
    Print(ProjectTable({list.projects().begin(), list.projects().end()}));
  }
  return absl::OkStatus();
}

// A repeated call finds the project gone, which is no error; a name that never was one is.
absl::Status Remove(const Common& common, const std::string& name) {
  ASSIGN_OR_RETURN(const auto client, Client::Open(common.data_folder));
  ASSIGN_OR_RETURN(const v1::ListProjectsResponse list, client->ListProjects());
  std::vector<std::string> names;
  for (const v1::Project& project : list.projects()) names.push_back(project.name());
  if (std::find(names.begin(), names.end(), name) == names.end()) {
    const std::string nearest = Nearest(name, names);
    return absl::NotFoundError(
        fmt::format("there is no project {}{}", name,
                    nearest.empty() ? "" : fmt::format("; did you mean {}?", nearest)));
  }
  RETURN_IF_ERROR(client->RemoveProject(name));
  if (common.json) {
    PrintJson(Json{{"removed", name}});
  } else {
    Print(fmt::format("project {} is removed\n", Printable(name)));
  }
  return absl::OkStatus();
}

void AddSetCommand(CommandTree& tree, CLI::App* group) {
  const auto arguments = std::make_shared<SetArguments>();
  CLI::App* set = AddCommand(
      tree, group, "set", "Make a project, or change what is given of one",
      "  corpgrid project set research --weight 3       three times the share of a weight of 1\n"
      "  corpgrid project set research --max-cpus 200 --max-memory 1TiB --max-gpus 8\n"
      "  corpgrid project set research --max-cpus none  no such limit any more\n"
      "  corpgrid project set research --max-running 0  nothing new begins; what runs goes on",
      [&common = tree.common, arguments]() -> int {
        const absl::Status status = Set(common, *arguments);
        return status.ok() ? kExitDone : Fail(common, status);
      });
  set->add_option("project", arguments->name, "Its name")->type_name("PROJECT")->required();
  const auto add = [&](const char* option, std::string& to, const char* what, const char* kind) {
    set->add_option(option, to, what)->type_name(kind);
  };
  add("--weight", arguments->weight, "Its share against the others', 1 to 1000 (at first 1)", "W");
  add("--max-cpus", arguments->cpus, "CPUs that its running shards ask for together", "N");
  add("--max-memory", arguments->memory, "Memory that they ask for together", "SIZE");
  add("--max-gpus", arguments->gpus, "GPUs that they ask for together", "N");
  add("--max-running", arguments->running, "Shards at a time, each replica counts", "SHARDS");
  add("--max-queued", arguments->queued, "Jobs that have not begun", "JOBS");
}

}  // namespace

void AddProjectCommands(CommandTree& tree) {
  CLI::App* group = AddGroup(tree, "project", "Who shares the grid, and how much each may use");
  const auto code = [&common = tree.common](const absl::Status& status) -> int {
    return status.ok() ? kExitDone : Fail(common, status);
  };
  AddSetCommand(tree, group);
  AddCommand(tree, group, "list", "All projects: weights, limits and what they use now",
             "  corpgrid project list\n  corpgrid project list --json",
             [&common = tree.common, code] { return code(List(common)); });
  const auto name = std::make_shared<std::string>();
  CLI::App* remove =
      AddCommand(tree, group, "remove", "Remove a project that has no unfinished jobs",
                 "  corpgrid project remove research",
                 [&common = tree.common, code, name] { return code(Remove(common, *name)); });
  remove->add_option("project", *name, "Its name")->type_name("PROJECT")->required();
}

}  // namespace corpgrid::cli
