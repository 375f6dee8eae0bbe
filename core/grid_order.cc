// Which job goes before which: dependencies, deadlines, priorities; and which device gets none.

#include <algorithm>
#include <utility>

#include "base/text.h"
#include "core/grid.h"
#include "fmt/format.h"

namespace corpgrid::core {

Reply Grid::Do(const DrainDevice& c, Effects* effects) {
  Device* device = FindDevice(c.device);
  if (!device) return absl::NotFoundError(fmt::format("no device {}", c.device.value));
  if (std::exchange(device->row.drained, c.drained) != c.drained) {
    effects->rows.devices.push_back(device->row);
    LogDrain(device->row, effects);
  }
  for (const AttemptId id : device->leases) {
    FindAttempt(id).attempt->drained = c.drained && c.now;
  }
  if (c.drained) {
    waiting_.Erase(device->row.id);
  } else if (device->wants > 0) {
    Offer(*device, effects);
  }
  return absl::OkStatus();
}

absl::Status Grid::Follow(Job* job) const {
  for (const uint64_t number : job->spec->after) {
    const JobId id{number};
    if (jobs_.contains(id)) continue;
    const auto ended = ended_.find(id);
    if (ended == ended_.end()) {
      return absl::NotFoundError(fmt::format(
          "there is no job {} to wait for; `corpgrid job list` shows those there are", number));
    }
    if (ended->second.state != JobState::kDone) {
      return absl::FailedPreconditionError(
          fmt::format("job {}, after which this one should run, {}", number,
                      ended->second.state == JobState::kFailed ? "failed" : "was cancelled"));
    }
  }
  FollowUnfinished(job);
  return absl::OkStatus();
}

void Grid::FollowUnfinished(Job* job) const {
  for (const uint64_t number : job->spec->after) {
    if (jobs_.contains(JobId{number})) job->waits_for.insert(JobId{number});
  }
}

void Grid::Await(const Job& job) {
  for (const JobId id : job.waits_for) followers_.emplace(id, job.row.id);
  if (job.spec->deadline_ms > 0) {
    deadlines_.emplace(job.row.submitted_ms + job.spec->deadline_ms, job.row.id);
  }
}

void Grid::SettleFollowers(Effects* effects) {
  while (!just_ended_.empty()) {
    const JobId ended = just_ended_.back();
    just_ended_.pop_back();
    const JobState state = ended_.at(ended).state;
    for (auto node = followers_.extract(ended); node; node = followers_.extract(ended)) {
      Job* follower = FindJob(node.mapped());
      if (!follower) continue;
      if (state != JobState::kDone) {
        EndJob(*follower, JobState::kFailed,
               fmt::format("job {}, after which it should run, {}", ended.value,
                           state == JobState::kFailed ? "failed" : "was cancelled"),
               effects);
        continue;
      }
      follower->waits_for.erase(ended);
      UpdateQueue(*follower);
      AddNewWork(*follower);
    }
  }
}

void Grid::EndLateJobs(Effects* effects) {
  while (!deadlines_.empty() && deadlines_.begin()->first <= meta_.time_ms) {
    Job* job = FindJob(deadlines_.extract(deadlines_.begin()).mapped());
    if (!job) continue;
    EndJob(*job, JobState::kFailed,
           fmt::format("its deadline of {} is over", FormatDuration(job->spec->deadline_ms)),
           effects);
  }
}

void Grid::CountRunning(Job& job, int change) {
  Project& project = *job.project;
  job.running += static_cast<uint32_t>(change);
  if (change > 0) {
    project.used += Amounts::Of(job.want);
  } else {
    project.used -= Amounts::Of(job.want);
  }
  Touch(project);
  if (job.running == 0) {
    project.running.erase(job.rank());
  } else if (change > 0 && job.running == 1) {
    project.running.insert(job.rank());
  }
}

const Grid::Job* Grid::GivesWayTo(Attempt& attempt) {
  const Job* job = FindJob(attempt.gives_way);
  if (job && job->queued) return job;
  attempt.gives_way = JobId();  // Should that job wait again, it has to wait its time.
  return nullptr;
}

std::string Grid::WhyGiveBack(Attempt& attempt, const Condition& condition) {
  if (condition.power == Power::kBattery) return "the device went on battery";
  if (!condition.closed.empty()) return "the device is " + condition.closed;
  if (attempt.drained) return "the device is drained";
  const Job* job = GivesWayTo(attempt);
  return job ? fmt::format("job {} goes first", job->row.id.value) : "";
}

void Grid::Preempt() {
  if (meta_.time_ms < next_preemption_ms_) return;
  next_preemption_ms_ = meta_.time_ms + kPreemptEveryMs;
  for (const auto& [name, project] : projects_) {
    for (const Rank front : project.queue.Fronts()) {
      Job& job = jobs_.at(front.job);
      if (meta_.time_ms - job.last_lease_ms >= kPatienceMs) PreemptFor(job);
    }
  }
}

// Of its own project alone: between projects only shares decide. One at a time: what is given back
// answers within seconds.
void Grid::PreemptFor(Job& job) {
  size_t scanned = 0;
  const std::set<Rank>& running = job.project->running;
  for (auto rank = running.rbegin(); rank != running.rend(); ++rank) {
    if (rank->priority >= job.spec->priority) return;
    for (auto& [index, shard] : jobs_.at(rank->job).live) {
      for (Attempt& attempt : shard.attempts) {
        const Device& device = devices_.at(attempt.row.device);
        if (attempt.row.state != AttemptState::kRunning || device.row.drained ||
            !Fits(job.want, device.row)) {
          continue;
        }
        if (++scanned > kMaxScanned) return;
        const Job* other = GivesWayTo(attempt);
        if (other == &job) return;  // It is on its way.
        if (other) continue;
        const bool helps = FreshFor(job, device) > 0 || FindOpen(job, device) != job.live.end();
        if (!helps) continue;
        attempt.gives_way = job.row.id;
        return;
      }
    }
  }
}

}  // namespace corpgrid::core
