// One sentence for every job that waits and every device that idles.

#include <algorithm>
#include <string>
#include <vector>

#include "base/text.h"
#include "core/grid.h"
#include "fmt/format.h"

namespace corpgrid::core {
Reply Grid::Do(const WhyJob& c, Effects*) {
  std::vector<std::string> sentences;
  const Job* job = FindJob(c.job);
  if (!job) return sentences;  // It has ended: its row says how.
  const job::JobFields& spec = *job->spec;
  std::set<Party> parties;
  size_t fit = 0, lost = 0, running = 0;
  std::map<std::string, int> unfit;
  for (const auto& [id, device] : devices_) {
    if (meta_.time_ms - device.last_seen_ms > config_.lease_ttl_ms() || device.last_seen_ms == 0) {
      ++lost;
      continue;
    }
    std::string why = device.row.drained ? "it is drained" : Misfit(job->want, device.row);
    if (why.empty() && !device.condition.closed.empty()) why = "it is " + device.condition.closed;
    if (why.empty() && !TakesWork(device)) why = "it runs on battery";
    if (!why.empty()) {
      ++unfit[why];
      continue;
    }
    ++fit;
    parties.insert(PartyOf(*job, device));
  }
  for (const auto& [index, shard] : job->live) running += shard.attempts.size();
  for (const JobId id : job->waits_for) {
    sentences.push_back(fmt::format("It begins when job {} is done.", id.value));
  }
  const char* distinct = spec.redundancy.distinct == job::Distinct::kOwner ? "owners" : "devices";
  if (fit == 0) {
    sentences.push_back(fmt::format("No connected device can run it ({} known, {} not connected).",
                                    devices_.size(), lost));
  } else if (job->promises() && !HasAuditor(*job)) {
    sentences.push_back(
        "It asks for max_error, which needs a trusted device that can run it, and there is none "
        "any "
        "more; `corpgrid device trust DEVICE` names one.");
  } else if (parties.size() < spec.redundancy.quorum) {
    sentences.push_back(fmt::format(
        "A quorum of {0} needs {0} different {1}, but only {2} with a suitable device {3} "
        "connected.",
        spec.redundancy.quorum, distinct, parties.size(), parties.size() == 1 ? "is" : "are"));
  } else if (parties.size() < spec.redundancy.replicas) {
    sentences.push_back(
        fmt::format("It asks for {} replicas on different {}, but only {} are connected.",
                    spec.redundancy.replicas, distinct, parties.size()));
  }
  for (const auto& [why, count] : unfit) {
    sentences.push_back(
        fmt::format("{} device{} may not run it: {}.", count, count == 1 ? "" : "s", why));
  }
  for (const auto& [index, shard] : job->live) {
    if (shard.row.faults > 0 || !shard.row.error.empty()) {
      sentences.push_back(fmt::format("Shard {} is tried again: {}.", index, shard.row.error));
      break;
    }
  }
  const uint32_t fresh = job->fresh();
  if (std::string why = WhyProjectWaits(*job); !why.empty()) sentences.push_back(std::move(why));
  if (sentences.empty() && fresh > 0 && running == 0) {
    sentences.push_back(
        "It waits for a device to ask for work; jobs of a higher priority go first, then older "
        "ones.");
  }
  AddAudits(*job, &sentences);
  sentences.push_back(fmt::format("{} of {} shards are done, {} attempts are out, {} shards wait.",
                                  job->row.progress.done, spec.shards, running, fresh));
  return sentences;
}

void Grid::AddAudits(const Job& job, std::vector<std::string>* sentences) {
  const auto audits = std::count_if(job.live.begin(), job.live.end(), [](const auto& entry) {
    return entry.second.row.audit == AuditState::kWanted;
  });
  if (audits > 0) {
    sentences->push_back(
        fmt::format("{} accepted results are audited by trusted devices, or wait for it.", audits));
  }
  if (!job.held.empty()) {
    sentences->push_back(
        fmt::format("{} accepted results wait until the audits are over.", job.held.size()));
  }
}

Reply Grid::Do(const WhyDevice& c, Effects*) {
  const Device* device = FindDevice(c.device);
  if (!device) return absl::NotFoundError(fmt::format("no device {}", c.device.value));
  std::vector<std::string> sentences;
  const int64_t silent_ms = meta_.time_ms - device->last_seen_ms;
  if (device->last_seen_ms == 0) {
    sentences.push_back("It has not connected since the scheduler started.");
  } else if (silent_ms > config_.lease_ttl_ms()) {
    sentences.push_back(fmt::format("It was last heard {} ago.", FormatDuration(silent_ms)));
  }
  if (device->condition.power == Power::kBattery) {
    sentences.push_back("It runs on battery; it gets work when it is plugged in.");
  }
  if (!device->condition.closed.empty()) {
    sentences.push_back(fmt::format("It is {}.", device->condition.closed));
  }
  if (device->row.drained) {
    sentences.push_back(fmt::format(
        "It is drained and gets no work; `corpgrid device drain {} --undo` changes that.",
        c.device.value));
  }
  if (!device->leases.empty()) {
    sentences.push_back(fmt::format("It has {} shards.", device->leases.size()));
    return sentences;
  }
  if (device->row.drained) return sentences;
  for (auto& [id, job] : jobs_) {
    if (const int64_t until_ms = PausedUntilMs(job, c.device); until_ms > meta_.time_ms) {
      sentences.push_back(fmt::format(
          "It gets no more of job {} for {}, having given up {} of its shards in a row.", id.value,
          FormatDuration(until_ms - meta_.time_ms), job.pauses.at(c.device).faults_in_a_row));
    } else if (const std::string why = Misfit(job.want, device->row); !why.empty()) {
      sentences.push_back(fmt::format("Job {} does not suit it: {}.", id.value, why));
    } else if (!Shortage(job.project->row, job.project->used, Amounts::Of(job.want)).empty()) {
      sentences.push_back(fmt::format("Job {} waits for the quota of its project {}.", id.value,
                                      job.project->row.name));
    } else if (FreshFor(job, *device) == 0 && FindOpen(job, *device) == job.live.end()) {
      sentences.push_back(fmt::format(
          "Job {} needs no more of {}: its shards run elsewhere, or wait for other owners.",
          id.value, device->row.owner));
    }
  }
  if (sentences.empty()) {
    sentences.push_back(!jobs_.empty()      ? "It may get work with its next poll."
                        : device->wants > 0 ? "It waits for work: no job is queued."
                                            : "No job is queued.");
  }
  return sentences;
}

}  // namespace corpgrid::core
