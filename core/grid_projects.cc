// Whose turn it is, and what it may use. docs/decisions/0009-projects.md says why.

#include <algorithm>
#include <iterator>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/text.h"
#include "core/grid.h"
#include "fmt/format.h"

namespace corpgrid::core {
namespace {

constexpr size_t kMostNamed = 20;

template <typename T>
void Take(const std::optional<T>& given, T* to) {
  if (given) *to = *given;
}

double AsFraction(uint64_t share) { return static_cast<double>(share) / (uint64_t{1} << 48); }

}  // namespace

absl::StatusOr<Project*> Grid::FindProject(const std::string& name) {
  if (const auto found = projects_.find(name); found != projects_.end()) return &found->second;
  std::vector<std::string> names;
  std::string list;
  for (const auto& [known, project] : projects_) {
    if (names.size() < kMostNamed) {
      list += fmt::format("{}{}", list.empty() ? "" : ", ", known);
    }
    names.push_back(known);
  }
  if (names.size() > kMostNamed) list += fmt::format(" and {} more", names.size() - kMostNamed);
  const std::string nearest = Nearest(name, names);
  return absl::NotFoundError(
      fmt::format("there is no project {}{}; there {}: {} (`corpgrid project set` makes one)", name,
                  nearest.empty() ? "" : fmt::format("; did you mean {}?", nearest),
                  names.size() == 1 ? "is" : "are", list));
}

absl::Status Grid::CheckQuotas(const Project& project, const Requirements& want) {
  const ProjectRow& row = project.row;
  if (const std::string shortage = Shortage(row, {}, Amounts::Of(want)); !shortage.empty()) {
    return absl::FailedPreconditionError(
        fmt::format("project {} has no room for this job even while idle: {}; `corpgrid project "
                    "set` changes its quotas",
                    row.name, shortage));
  }
  if (project.queued >= row.max_queued) {
    return absl::FailedPreconditionError(
        fmt::format("project {} has {} of {} queued jobs: submit again when some of them run, or "
                    "raise --max-queued with `corpgrid project set`",
                    row.name, project.queued, row.max_queued));
  }
  return absl::OkStatus();
}

Reply Grid::Do(const SetProject& c, Effects* effects) {
  if (const std::string problem = job::ProjectNameProblem(c.name); !problem.empty()) {
    return absl::InvalidArgumentError(problem);
  }
  if (c.weight && (*c.weight < 1 || *c.weight > kMaxWeight)) {
    return absl::InvalidArgumentError(
        fmt::format("a weight is a number from 1 to {}, got {}", kMaxWeight, *c.weight));
  }
  const auto known = projects_.find(c.name);
  if (known == projects_.end() && projects_.size() >= kMaxProjects) {
    return absl::ResourceExhaustedError(
        fmt::format("there are {} projects already; remove some first", kMaxProjects));
  }
  ProjectRow row = known == projects_.end() ? ProjectRow{.name = c.name} : known->second.row;
  Take(c.weight, &row.weight);
  Take(c.max_cpus, &row.max_cpus);
  Take(c.max_memory_bytes, &row.max_memory_bytes);
  Take(c.max_gpus, &row.max_gpus);
  Take(c.max_running, &row.max_running);
  Take(c.max_queued, &row.max_queued);
  if (known != projects_.end() && row == known->second.row) return absl::OkStatus();
  effects->rows.projects.push_back(row);
  LogProject(row, effects);
  AddProject(std::move(row));
  return absl::OkStatus();
}

Reply Grid::Do(const RemoveProject& c, Effects* effects) {
  if (c.name == job::kDefaultProject) {
    return absl::FailedPreconditionError(
        fmt::format("project {} stays: it has the jobs that name no other", c.name));
  }
  const auto found = projects_.find(c.name);
  if (found == projects_.end()) return absl::OkStatus();
  if (found->second.unfinished > 0) {
    return absl::FailedPreconditionError(
        fmt::format("project {} has unfinished jobs ({}): wait for them or cancel them", c.name,
                    found->second.unfinished));
  }
  SettleProjects();  // It has no jobs, so that nothing knows it any more.
  ProjectRow row = std::move(found->second.row);
  projects_.erase(found);
  row.removed = true;
  LogProject(row, effects);
  effects->rows.projects.push_back(std::move(row));
  return absl::OkStatus();
}

Reply Grid::Do(const ViewProjects&, Effects*) {
  std::vector<ProjectView> views;
  views.reserve(projects_.size());
  for (const auto& [name, project] : projects_) {
    const Amounts& used = project.used;
    views.push_back({.row = project.row,
                     .cpus = used.cpus,
                     .memory_bytes = used.memory_bytes,
                     .gpus = used.gpus,
                     .attempts = used.attempts,
                     .share = AsFraction(WeightedShare(used, totals_, 1)),
                     .jobs_queued = project.queued,
                     .jobs_running = project.unfinished - project.queued});
  }
  return views;
}

Project& Grid::AddProject(ProjectRow row) {
  const auto [it, is_new] = projects_.try_emplace(row.name);
  it->second.name = it->second.turn.name = it->first;
  it->second.row = std::move(row);
  Touch(it->second);
  return it->second;
}

void Grid::Hear(Device& device) {
  device.last_seen_ms = meta_.time_ms;
  if (std::exchange(device.present, true)) return;
  totals_ += Amounts::Of(device.row);
  silences_.Add(meta_.time_ms + config_.lease_ttl_ms(), device.row.id);
}

void Grid::ForgetSilentDevices() {
  for (const DeviceId id : silences_.TakeDue(meta_.time_ms)) {
    Device& device = devices_.at(id);
    const int64_t silent_at_ms = device.last_seen_ms + config_.lease_ttl_ms();
    if (device.last_seen_ms > 0 && silent_at_ms > meta_.time_ms) {
      silences_.Add(silent_at_ms, id);
      continue;
    }
    device.present = false;
    totals_ -= Amounts::Of(device.row);
  }
}

void Grid::Touch(Project& project) {
  if (!std::exchange(project.moved, true)) moved_.push_back(&project);
}

void Grid::SettleProjects() {
  if (meta_.time_ms >= next_totals_ms_) {
    // When no device has any more of something, as after this machine slept, nothing is known.
    Amounts totals = totals_;
    if (totals.cpus == 0) totals.cpus = counted_totals_.cpus;
    if (totals.memory_bytes == 0) totals.memory_bytes = counted_totals_.memory_bytes;
    if (totals.gpus == 0) totals.gpus = counted_totals_.gpus;
    if (counted_totals_ != totals) {
      counted_totals_ = totals;
      next_totals_ms_ = meta_.time_ms + kTotalsEveryMs;
      for (auto& [name, project] : projects_) Touch(project);
    }
  }
  if (moved_.empty()) return;
  for (Project* project : moved_) PlaceProject(*project);
  moved_.clear();
}

void Grid::PlaceProject(Project& project) {
  project.moved = false;
  JobQueue::Classes& classes = project.queue.classes();
  const bool waits = std::any_of(classes.begin(), classes.end(), [&](const auto& entry) {
    return !entry.second.jobs.empty() &&
           Room(project.row, project.used, Amounts::Of(entry.first)) > 0;
  });
  // Who had nothing to ask for gets nothing in return.
  if (waits && !std::exchange(project.waits, waits)) project.got = std::max(project.got, got_);
  project.waits = waits;
  const Turn before = project.turn;
  const Turn now = {WeightedShare(project.used, counted_totals_, project.row.weight), project.got,
                    project.name};
  project.turn = now;
  if (auto node = new_work_.extract(before)) {
    node.key() = now;
    new_work_.insert(std::move(node));
  }
  for (auto it = classes.begin(); it != classes.end();) {
    auto& [want, members] = *it;
    const bool was_open =
        std::exchange(members.open, !members.jobs.empty() &&
                                        Room(project.row, project.used, Amounts::Of(want)) > 0);
    if (was_open && (!members.open || now != before)) turns_.Erase(want, before);
    if (members.open && (!was_open || now != before)) turns_.Insert(want, project);
    if (members.open && !was_open) {
      // Those that wait looked when there was no room.
      size_t added = 0;
      for (auto job = members.jobs.begin(); job != members.jobs.end() && added < kMaxCandidates;
           ++job, ++added) {
        new_work_[now].insert(*job);
      }
    }
    it = members.jobs.empty() ? classes.erase(it) : std::next(it);
  }
}

void Grid::AddNewWork(const Job& job) { new_work_[job.project->turn].insert(job.rank()); }

void Grid::CountGot(Project& project, const Requirements& want, uint64_t attempts) {
  if (attempts == 0) return;
  constexpr uint64_t kMost = uint64_t{1} << 32;  // the whole grid, once
  const uint64_t share =
      WeightedShare(Amounts::Of(want), counted_totals_, project.row.weight) >> 16;
  got_ = std::max(got_, project.got);
  project.got += std::clamp<uint64_t>(share, 1, kMost) * attempts;
}

std::string Grid::WhyProjectWaits(const Job& job) const {
  const Project& own = *job.project;
  const Amounts one = Amounts::Of(job.want);
  if (!job.queued) return "";
  if (std::string shortage = Shortage(own.row, own.used, one); !shortage.empty()) {
    return fmt::format("Its project {} has reached its quota: {}.", own.name, shortage);
  }
  const Project* first = turns_.First();
  if (!first || first == &own || first->turn > own.turn) return "";
  const auto percent = [&](const Project& project) {
    return 100 * AsFraction(WeightedShare(project.used, totals_, 1));
  };
  return fmt::format(
      "Project {} goes first: it has {:.1f} % of the grid at a weight of {}, project {} {:.1f} % "
      "at "
      "a weight of {}.",
      first->name, percent(*first), first->row.weight, own.name, percent(own), own.row.weight);
}

}  // namespace corpgrid::core
