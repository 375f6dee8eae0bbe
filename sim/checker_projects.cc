// Whose turn it is, and what a project may use.

#include <algorithm>

#include "fmt/format.h"
#include "sim/checker.h"

namespace corpgrid::sim {

Checker::Amounts Checker::AmountsOf(const JobTruth& job) {
  const job::Resources& wants = job.spec->resources;
  const bool cpu_will_do = std::find(wants.backends.begin(), wants.backends.end(),
                                     job::Backend::kCpu) != wants.backends.end();
  return {wants.cpus, wants.memory_bytes, cpu_will_do && wants.vram_bytes == 0 ? 0u : 1u, 1};
}

Checker::Amounts Checker::QuotasOf(const core::ProjectRow& row) {
  return {row.max_cpus, row.max_memory_bytes, row.max_gpus, row.max_running};
}

bool Checker::FitsQuotas(const core::ProjectRow& row, const Amounts& used, const Amounts& more) {
  const Amounts quotas = QuotasOf(row);
  for (size_t i = 0; i < quotas.size(); ++i) {
    if (more[i] > 0 && quotas[i] != core::ProjectRow::kNoLimit && used[i] + more[i] > quotas[i]) {
      return false;
    }
  }
  return true;
}

const JobTruth* Checker::AppliedJob(JobId id) const {
  const auto it = applied_jobs_.find(id);
  return it == applied_jobs_.end() ? world_->FindJob(id) : &world_->jobs()[it->second];
}

void Checker::BeginProjectsRound() {
  changed_.clear();
  leased_.clear();
  submitted_.clear();
}

void Checker::AppliedProjects(const Request& request, const core::Effects& effects) {
  const auto* status = std::get_if<absl::Status>(&effects.reply);
  const auto* set = std::get_if<core::SetProject>(&request.body);
  if (set && status && status->ok()) {
    core::ProjectRow& row = projects_[set->name].row;
    row.name = set->name;
    row.weight = set->weight.value_or(row.weight);
    row.max_cpus = set->max_cpus.value_or(row.max_cpus);
    row.max_memory_bytes = set->max_memory_bytes.value_or(row.max_memory_bytes);
    row.max_gpus = set->max_gpus.value_or(row.max_gpus);
    row.max_running = set->max_running.value_or(row.max_running);
    row.max_queued = set->max_queued.value_or(row.max_queued);
  }
  if (const auto* remove = std::get_if<core::RemoveProject>(&request.body); remove && status) {
    AppliedRemoval(remove->name, status->ok());
  }
  if (const auto* submit = std::get_if<core::SubmitJob>(&request.body)) {
    AppliedSubmission(*submit, effects.reply);
  }
  const auto* results = std::get_if<core::SubmitResults>(&request.body);
  const auto* verdicts = std::get_if<std::vector<core::Verdict>>(&effects.reply);
  if (results && verdicts) {
    for (const core::HandedIn& in : results->results) {
      const job::Outcome outcome = in.row.result.outcome;
      const bool gave_up =
          outcome == job::Outcome::kDeviceFault || outcome == job::Outcome::kGivenBack;
      if (gave_up) NotePause(in.row.attempt);
    }
    for (const core::Verdict& verdict : *verdicts) {
      if (verdict.accepted) StopsUsing(verdict.attempt);
    }
  }
  if (const auto* death = std::get_if<core::ReportDeath>(&request.body)) {
    for (const core::ReportDeath::Begun& begun : death->attempts) NotePause(begun.attempt);
  }
  for (const AttemptId id : effects.ended) StopsUsing(id);
  // A poll ends nothing: what it changes are the jobs that it gives shards of.
  if (!std::holds_alternative<core::Poll>(request.body)) {
    changed_.insert(effects.changed.begin(), effects.changed.end());
  }
  for (const core::Lease& lease : effects.leases) {
    if (!attempts_.contains(lease.attempt)) ++leased_[lease.shard.job];
  }
}

void Checker::AppliedRemoval(const std::string& name, bool removed) {
  const auto is_of_it = [&](const auto& entry) {
    return !HasEnded(entry.second.state) && TruthOf(entry.second).spec->project == name;
  };
  const auto job = std::find_if(jobs_.begin(), jobs_.end(), is_of_it);
  if (removed) {
    if (job != jobs_.end() && !changed_.contains(job->first)) {
      Fail(fmt::format("project {} was removed, but job {} goes on", name, job->first.value));
    }
    projects_.erase(name);
  } else if (job == jobs_.end() && !submitted_.contains(name) && name != job::kDefaultProject) {
    Fail(fmt::format("project {} cannot be removed, though it has no jobs", name));
  }
}

void Checker::AppliedSubmission(const core::SubmitJob& submit, const core::Reply& reply) {
  JobTruth* truth = world_->FindKey(submit.idempotency_key);
  if (!truth) return;
  const auto project = projects_.find(truth->spec->project);
  const bool fits =
      project != projects_.end() && FitsQuotas(project->second.row, {}, AmountsOf(*truth));
  if (const auto* submitted = std::get_if<core::Submitted>(&reply)) {
    applied_jobs_[submitted->job] = static_cast<uint32_t>(truth - world_->jobs().data());
    if (submitted->existed) return;
    submitted_.insert(truth->spec->project);
    if (!fits) Fail(fmt::format("{} can never run and was accepted", truth->key));
    return;
  }
  const auto queued =
      static_cast<uint64_t>(std::count_if(jobs_.begin(), jobs_.end(), [&](const auto& entry) {
        return !HasEnded(entry.second.state) &&
               TruthOf(entry.second).spec->project == truth->spec->project;
      }));
  const bool full = fits && project->second.row.max_queued <= queued + submitted_.size();
  if (!fits || full) refused_.insert(truth->key);
}

// The attempt's device may get no more of its job for a while.
void Checker::NotePause(AttemptId id) {
  const auto it = attempts_.find(id);
  if (it != attempts_.end()) paused_.emplace(it->second.shard.job, it->second.device);
}

void Checker::StopsUsing(AttemptId id) {
  const auto it = using_.find(id);
  if (it == using_.end()) return;
  const JobTruth& job = *AppliedJob(it->second);
  const Amounts amounts = AmountsOf(job);
  Amounts& used = projects_[job.spec->project].used;
  for (size_t i = 0; i < used.size(); ++i) used[i] -= amounts[i];
  using_.erase(it);
}

void Checker::CheckProject(const core::Lease& lease, const DeviceFact& device) {
  const JobTruth* job = AppliedJob(lease.shard.job);
  if (!job) return;
  const auto project = projects_.find(job->spec->project);
  if (project == projects_.end()) {
    Fail(fmt::format("attempt {} is of no project", lease.attempt.value));
    return;
  }
  CheckTurn(lease, project->second, device);
  const Amounts amounts = AmountsOf(*job);
  if (!FitsQuotas(project->second.row, project->second.used, amounts)) {
    Fail(fmt::format("attempt {} exceeds a quota of project {}", lease.attempt.value,
                     project->first));
  }
  for (size_t i = 0; i < amounts.size(); ++i) project->second.used[i] += amounts[i];
  using_[lease.attempt] = lease.shard.job;
}

// Whether by its weight `a` uses less than `b` of every resource, so that its dominant share is the
// smaller one whatever the grid has: the core knows that a second late. Two that are equal but for
// rounding are not meant, nor two that use GPUs, of which the grid may have none left.
bool Checker::UsesLess(const ProjectFact& a, const ProjectFact& b) {
  constexpr size_t kGpus = 2, kResources = 3;
  if (a.used[kGpus] > 0 && b.used[kGpus] > 0) return false;
  bool less = false;
  for (size_t i = 0; i < kResources; ++i) {
    const double of_a = static_cast<double>(a.used[i]) * b.row.weight;
    const double of_b = static_cast<double>(b.used[i]) * a.row.weight;
    if (of_a == 0 && of_b == 0) continue;
    if (of_a > of_b * 0.999999) return false;
    less = true;
  }
  return less;
}

// Less than one wrong result will do: all would have to be audited.
bool Checker::TrustedOnly(const job::JobFields& spec) {
  return spec.redundancy.max_error > 0 && spec.redundancy.max_error * spec.shards < 1;
}

// No project gets a shard while another one that uses less has a job with shards that nobody has
// had yet, for this device and within its quotas.
void Checker::CheckTurn(const core::Lease& lease, const ProjectFact& project,
                        const DeviceFact& device) {
  for (const JobId id : fresh_jobs_) {
    const JobFact& fact = jobs_.at(id);
    const JobTruth& truth = TruthOf(fact);
    const auto other = projects_.find(truth.spec->project);
    if (other == projects_.end() || &other->second == &project || changed_.contains(id) ||
        paused_.contains({id, lease.device}) || (!truth.spec->after.empty() && !fact.next_shard)) {
      continue;
    }
    const auto leased = leased_.find(id);
    const uint32_t given = fact.next_shard + (leased == leased_.end() ? 0 : leased->second);
    if (given >= truth.spec->shards || !Suits(device.applied, *truth.spec) ||
        (TrustedOnly(*truth.spec) && !device.row.trusted) || !UsesLess(other->second, project) ||
        !FitsQuotas(other->second.row, other->second.used, AmountsOf(truth))) {
      continue;
    }
    Fail(
        fmt::format("attempt {} went to project {}, though job {} of {}, which uses less, has "
                    "shards for that device",
                    lease.attempt.value, project.row.name, id.value, other->first));
  }
}

void Checker::LandedProjects(const core::WriteBatch& batch) {
  for (const core::JobRow& row : batch.jobs) {
    if (jobs_.contains(row.id)) fresh_jobs_.insert(row.id);
  }
  for (const core::JobProgressRow& row : batch.job_progress) {
    const auto job = jobs_.find(row.id);
    if (job == jobs_.end()) continue;
    const bool ended = HasEnded(row.state);
    if (ended || row.next_shard == TruthOf(job->second).spec->shards) fresh_jobs_.erase(row.id);
    if (!ended) continue;
    paused_.erase(paused_.lower_bound({row.id, DeviceId{}}),
                  paused_.upper_bound({row.id, DeviceId{UINT64_MAX}}));
  }
  for (const core::ProjectRow& row : batch.projects) {
    digest_->Add(row.name);
    digest_->Add(row.weight);
    if (row.removed) {
      landed_projects_.erase(row.name);
    } else {
      landed_projects_[row.name] = row;
    }
  }
  if (resurrecting_) return;
  const bool same = std::all_of(projects_.begin(), projects_.end(), [&](const auto& entry) {
    const auto landed = landed_projects_.find(entry.first);
    return landed == landed_projects_.end()
               ? entry.second.row == core::ProjectRow{.name = "default"}
               : landed->second == entry.second.row;
  });
  if (!same || landed_projects_.size() > projects_.size()) {
    Fail("the store has other projects than were set");
  }
}

void Checker::LoadedProjects(const core::Snapshot& snapshot) {
  size_t there = 0;
  for (const core::ProjectRow& row : snapshot.projects) {
    if (row.removed) continue;
    ++there;
    const auto landed = landed_projects_.find(row.name);
    if (landed == landed_projects_.end() || landed->second != row) {
      Fail(fmt::format("project {} came back otherwise", row.name));
    }
  }
  if (there != landed_projects_.size()) {
    Fail(fmt::format("{} projects came back, not {}", there, landed_projects_.size()));
  }
}

// What the core has in memory is now what is in the store.
void Checker::ReloadedProjects() {
  BeginProjectsRound();
  using_.clear();
  projects_.clear();
  projects_["default"].row.name = "default";
  for (const auto& [name, row] : landed_projects_) projects_[name].row = row;
  for (const auto& [device, fact] : devices_) {
    for (const AttemptId id : fact.running) {
      const JobTruth& job = TruthOf(jobs_.at(attempts_.at(id).shard.job));
      const Amounts amounts = AmountsOf(job);
      Amounts& used = projects_[job.spec->project].used;
      for (size_t i = 0; i < used.size(); ++i) used[i] += amounts[i];
      using_[id] = attempts_.at(id).shard.job;
    }
  }
}

}  // namespace corpgrid::sim
