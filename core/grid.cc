#include "core/grid.h"

#include <algorithm>
#include <utility>

#include "base/status_macros.h"
#include "fmt/format.h"

namespace corpgrid::core {

void Grid::LoadDevices(Snapshot* snapshot) {
  for (JoinTokenRow& row : snapshot->join_tokens) {
    join_token_keys_.insert(row.idempotency_key);
    join_tokens_[row.secret_hash] = std::move(row);
  }
  for (DeviceRow& row : snapshot->devices) {
    device_by_key_[row.public_key] = row.id;
    Device& device = devices_[row.id];
    device.reputation.device = row.id;
    device.owner = NumberOf(row.owner);
    if (row.trusted) trusted_.insert(row.id);
    device.row = std::move(row);
  }
  for (const ReputationRow& row : snapshot->reputations) {
    if (Device* device = FindDevice(row.device)) device->reputation = row;
  }
  hosting_.Load(std::move(snapshot->models), meta_.time_ms);
}

absl::Status Grid::LoadJobs(Snapshot* snapshot) {
  AddProject({.name = std::string(job::kDefaultProject)});
  for (ProjectRow& row : snapshot->projects) {
    if (!row.removed) AddProject(std::move(row));
  }
  for (JobRow& row : snapshot->jobs) {
    ASSIGN_OR_RETURN(job::JobSpec spec, job::JobSpec::Decode(row.spec));
    const JobId id = row.id;
    const auto found = projects_.find(spec->project);
    if (found == projects_.end()) {
      return absl::DataLossError(fmt::format("job {} of no project {}", id.value, spec->project));
    }
    Project& project = found->second;
    ++project.unfinished;
    if (row.progress.state == JobState::kQueued) ++project.queued;
    job_by_key_[row.idempotency_key] = id;
    jobs_.emplace(id, Job(std::move(row), std::move(spec), &project));
  }
  return absl::OkStatus();
}

absl::StatusOr<Grid> Grid::Load(const GridConfig& config, Snapshot snapshot) {
  Grid grid(config);
  const MetaRow& meta = grid.meta_ = std::move(snapshot.meta);
  ASSIGN_OR_RETURN(grid.audit_, audit::Frontier::Load(meta.audit_size, meta.audit_frontier));
  grid.LoadDevices(&snapshot);
  grid.LoadEnded(snapshot.finished);
  RETURN_IF_ERROR(grid.LoadJobs(&snapshot));
  for (ShardRow& row : snapshot.shards) {
    Job* job = grid.FindJob(row.id.job);
    if (!job) return absl::DataLossError(fmt::format("shard {} of no job", row.id.index));
    const uint32_t index = row.id.index;
    job->live.try_emplace(job->live.end(), index)->second.row = std::move(row);
  }
  for (CheckpointRow& row : snapshot.checkpoints) {
    Job* job = grid.FindJob(row.shard.job);
    if (!job || !job->live.contains(row.shard.index)) {
      return absl::DataLossError(fmt::format("checkpoint of no shard {}", row.shard.index));
    }
    std::string holder = row.holder;
    job->live[row.shard.index].checkpoints[std::move(holder)] = std::move(row);
  }
  std::map<AttemptId, job::Result> results;
  for (ResultRow& row : snapshot.results) {
    results.try_emplace(results.end(), row.attempt)->second = std::move(row.result);
  }
  grid.attempts_.reserve(snapshot.attempts.size());
  for (AttemptRow& row : snapshot.attempts) {
    Job* job = grid.FindJob(row.shard.job);
    Device* device = grid.FindDevice(row.device);
    const auto live = job ? job->live.find(row.shard.index) : Live::iterator();
    if (!job || !device || live == job->live.end()) {
      return absl::DataLossError(fmt::format("attempt {} of no shard or device", row.id.value));
    }
    Shard& shard = live->second;
    if (!IsLive(row.state)) continue;
    Attempt attempt;
    attempt.row = std::move(row);
    attempt.party = grid.PartyOf(*job, attempt.row);
    if (const auto it = results.find(attempt.row.id); it != results.end()) {
      attempt.result_key = it->second.Key();
      attempt.succeeded = it->second.succeeded();
      attempt.counted = !attempt.succeeded || !LooksInside(*job);
      if (!attempt.counted) attempt.outputs = std::move(it->second.outputs);
    }
    grid.attempts_[attempt.row.id] = {job, &shard};
    if (attempt.row.state == AttemptState::kRunning) {
      attempt.suspect = !shard.row.died_on.empty();
      if (attempt.suspect) ++device->suspects;
      device->leases.push_back(attempt.row.id);
      grid.StartLease(*job, *device, attempt);
      grid.CountRunning(*job, 1);
    }
    shard.attempts.push_back(std::move(attempt));
  }
  for (auto& [id, job] : grid.jobs_) {
    RETURN_IF_ERROR(grid.GoOnWith(job));
    // What it followed and has ended was done, or it would have failed with it.
    grid.FollowUnfinished(&job);
    grid.Await(job);
    grid.UpdateQueue(job);
  }
  for (auto& [id, device] : grid.devices_) {
    std::sort(device.leases.begin(), device.leases.end());
    if (device.leases.empty()) continue;
    // As its leases are: there for one TTL, unless it is heard.
    grid.Hear(device);
    device.last_seen_ms = 0;
  }
  return grid;
}

Effects Grid::Apply(const Command& command) {
  meta_.time_ms = std::max(meta_.time_ms, command.time_ms);
  wall_ms_ = command.wall_ms;
  seed_ = command.seed;
  Effects effects;
  effects.reply = std::visit([&](const auto& c) { return Do(c, &effects); }, command.body);
  SettleFollowers(&effects);
  GiveNewWork(&effects);
  for (const JobId id : std::exchange(dirty_jobs_, {})) {
    effects.rows.job_progress.push_back(jobs_.at(id).row.progress);
    effects.changed.push_back(id);
  }
  for (const DeviceId id : std::exchange(dirty_devices_, {})) {
    effects.rows.reputations.push_back(devices_.at(id).reputation);
  }
  return effects;
}

Reply Grid::Do(const RegisterDevice& c, Effects* effects) {
  DeviceRow row = c.device;
  const auto known = device_by_key_.find(row.public_key);
  if (known != device_by_key_.end()) {
    Device& old = devices_.at(known->second);
    row.id = old.row.id;
    row.owner = old.row.owner;
    row.drained = old.row.drained;
    row.trusted = old.row.trusted;
    LogChange(old, row, effects);
  } else {
    const auto token =
        c.join_secret_hash ? join_tokens_.find(*c.join_secret_hash) : join_tokens_.end();
    if (token == join_tokens_.end() || token->second.uses_left == 0) {
      LogStranger(c, token == join_tokens_.end() ? "no such join token" : "join token used up",
                  effects);
      return absl::PermissionDeniedError(
          "this device is not known to the grid and its join token is missing, wrong or used up; "
          "make one "
          "with `corpgrid token create --owner NAME` and start the agent with --join TOKEN");
    }
    --token->second.uses_left;
    effects->rows.join_tokens.push_back(token->second);
    row.owner = token->second.owner;
    row.id = DeviceId{meta_.next_device++};
    device_by_key_[row.public_key] = row.id;
    LogDevice(row, token->second, effects);
  }
  Device& device = devices_[row.id];
  if (device.present) totals_ -= Amounts::Of(device.row);
  device.row = row;
  if (device.present) totals_ += Amounts::Of(device.row);
  device.owner = NumberOf(row.owner);
  device.reputation.device = row.id;
  Hear(device);
  effects->rows.devices.push_back(row);
  TakeBackNotUnderstood(device, effects);
  if (device.wants > 0) Offer(device, effects);  // It may be able to do more than before.
  return Registered{row.id, row.owner};
}

Reply Grid::Do(const CreateJoinToken& c, Effects* effects) {
  if (!join_token_keys_.insert(c.token.idempotency_key).second) return absl::OkStatus();
  join_tokens_[c.token.secret_hash] = c.token;
  effects->rows.join_tokens.push_back(c.token);
  LogToken(c.token, effects);
  return absl::OkStatus();
}

Reply Grid::Do(const SubmitJob& c, Effects* effects) {
  if (const auto it = job_by_key_.find(c.idempotency_key); it != job_by_key_.end()) {
    return Submitted{it->second, true};
  }
  const absl::StatusOr<Project*> project = FindProject(c.spec->project);
  if (!project.ok()) return project.status();
  if (absl::Status room = CheckQuotas(**project, Requirements::Of(c.spec)); !room.ok()) return room;
  JobRow row;
  row.id = JobId{meta_.next_job};
  row.idempotency_key = c.idempotency_key;
  row.spec = c.spec.Encode();
  row.spec_hash = c.spec_hash;
  row.bundle_hash = c.bundle_hash;
  row.bundle_bytes = c.bundle_bytes;
  row.submitter_key = c.submitter_key;
  row.signature = c.signature;
  row.submitted_wall_ms = wall_ms_;
  row.submitted_ms = meta_.time_ms;
  row.progress.id = row.id;
  const JobId id = row.id;
  Job job(std::move(row), c.spec, *project);
  if (absl::Status follows = Follow(&job); !follows.ok()) return follows;
  if (absl::Status promise = MayPromise(job); !promise.ok()) return promise;
  job.row.audit_chance = AuditChanceOf(job.spec);
  ++meta_.next_job;
  job_by_key_[job.row.idempotency_key] = id;
  effects->rows.jobs.push_back(job.row);
  ++(*project)->unfinished;
  ++(*project)->queued;
  LogSubmission(job, effects);
  effects->changed.push_back(id);
  Job& queued = jobs_.emplace(id, std::move(job)).first->second;
  Await(queued);
  UpdateQueue(queued);
  AddNewWork(queued);
  return Submitted{id, false};
}

Reply Grid::Do(const CancelJob& c, Effects* effects) {
  Job* job = FindJob(c.job);
  if (job) EndJob(*job, JobState::kCancelled, "cancelled by its owner", effects);
  return absl::OkStatus();  // A job that has ended stays as it ended.
}

Reply Grid::Do(const core::FindJob& c, Effects*) {
  const auto it = job_by_key_.find(c.idempotency_key);
  return it == job_by_key_.end() ? Submitted{} : Submitted{it->second, true};
}

Reply Grid::Do(const ViewJob& c, Effects*) {
  JobView view;
  const Job* job = FindJob(c.job);
  if (!job) return view;
  for (const auto& [index, shard] : job->live) {
    for (const Attempt& attempt : shard.attempts) {
      if (attempt.row.state != AttemptState::kRunning) continue;
      view.running.push_back({attempt.row.id, index, attempt.fraction});
    }
  }
  return view;
}

Reply Grid::Do(const ViewDevices&, Effects*) {
  std::vector<DeviceView> views;
  views.reserve(devices_.size());
  for (const auto& [id, device] : devices_) {
    const bool seen = device.last_seen_ms > 0;
    views.push_back(
        {.row = device.row,
         .reputation = device.reputation,
         .tier = TierOf(device.reputation, meta_.time_ms),
         .mean = MeanOf(device.reputation, meta_.time_ms),
         .lower_bound = LowerBoundOf(device.reputation, meta_.time_ms),
         .condition = device.condition,
         .silent_ms = seen ? meta_.time_ms - device.last_seen_ms : -1,
         .leases = static_cast<uint32_t>(device.leases.size()),
         .lost = !seen || meta_.time_ms - device.last_seen_ms > config_.lease_ttl_ms()});
  }
  return views;
}

void Grid::EndJob(Job& job, JobState state, std::string error, Effects* effects) {
  for (auto& [index, shard] : job.live) {
    ForgetStates(shard, effects);
    for (Attempt& attempt : shard.attempts) {
      if (IsLive(attempt.row.state)) EndAttempt(attempt, AttemptState::kCancelled, effects);
    }
  }
  JobProgressRow& progress = job.row.progress;
  progress.state = state;
  progress.error = std::move(error);
  progress.finished_wall_ms = wall_ms_;
  progress.finished_ms = meta_.time_ms;
  if (state == JobState::kDone) SetBound(job);
  effects->rows.job_progress.push_back(progress);
  effects->changed.push_back(progress.id);
  LogEnd(progress, effects);
  dirty_jobs_.erase(progress.id);
  if (job.queued) job.project->queue.Erase(job.rank(), job.want);
  --job.project->unfinished;
  if (progress.next_shard == 0) --job.project->queued;
  Touch(*job.project);
  AddEnded(job.row.idempotency_key, progress.id,
           {.state = state, .shards = progress.next_shard, .finished_ms = progress.finished_ms});
  just_ended_.push_back(progress.id);
  jobs_.erase(progress.id);
}

Grid::Party Grid::NumberOf(const std::string& owner) {
  return owners_.try_emplace(owner, owners_.size() + 1).first->second;
}

Grid::Party Grid::PartyOf(const Job& job, const Device& device) {
  return job.spec->redundancy.distinct == job::Distinct::kOwner ? device.owner
                                                                : device.row.id.value;
}

Grid::Party Grid::PartyOf(const Job& job, const AttemptRow& attempt) {
  return job.spec->redundancy.distinct == job::Distinct::kOwner ? NumberOf(attempt.owner)
                                                                : attempt.device.value;
}

Grid::Parties Grid::PartiesOf(const Shard& shard) {
  Parties parties;
  parties.reserve(shard.attempts.size());
  for (const Attempt& attempt : shard.attempts) parties.push_back(attempt.party);
  std::sort(parties.begin(), parties.end());
  return parties;
}

void Grid::Close(Job& job, const Shard& shard) {
  job.audits.erase(shard.row.id.index);
  job.held.erase(shard.row.id.index);
  if (shard.attempts.size() >= shard.row.replicas) return;
  const auto it = job.open.find(PartiesOf(shard));
  if (it == job.open.end()) return;
  it->second.erase(shard.row.id.index);
  if (it->second.empty()) job.open.erase(it);
}

void Grid::Reopen(Job& job, const Shard& shard) {
  if (shard.row.audit == AuditState::kHeld) {
    job.held.insert(shard.row.id.index);
    return;
  }
  if (shard.row.audit == AuditState::kWanted) {
    if (!HasTrusted(shard)) job.audits.insert(shard.row.id.index);
    return;
  }
  if (shard.attempts.size() >= shard.row.replicas) return;
  job.open[PartiesOf(shard)].insert(shard.row.id.index);
}

void Grid::UpdateQueue(Job& job) {
  const bool has_audits = !job.audits.empty() || (job.checks_all() && !job.held.empty());
  const bool has_work =
      job.waits_for.empty() && (job.fresh() > 0 || !job.open.empty() || has_audits);
  if (has_work == job.queued) return;
  job.queued = has_work;
  if (has_work) {
    job.last_lease_ms = meta_.time_ms;
    job.project->queue.Insert(job.rank(), job.want);
  } else {
    job.project->queue.Erase(job.rank(), job.want);
  }
  Touch(*job.project);
}

Grid::Device* Grid::FindDevice(DeviceId id) {
  const auto it = devices_.find(id);
  return it == devices_.end() ? nullptr : &it->second;
}

Grid::Job* Grid::FindJob(JobId id) {
  const auto it = jobs_.find(id);
  return it == jobs_.end() ? nullptr : &it->second;
}

Grid::Found Grid::FindAttempt(AttemptId id) {
  const auto it = attempts_.find(id);
  if (it == attempts_.end()) return {};
  const auto [job, shard] = it->second;
  const auto attempt = std::find_if(shard->attempts.begin(), shard->attempts.end(),
                                    [&](const Attempt& a) { return a.row.id == id; });
  return {job, shard, &*attempt};
}

}  // namespace corpgrid::core
