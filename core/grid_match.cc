// Which shards go to which of the devices that wait. docs/architecture.md says in what order.

#include <algorithm>
#include <map>
#include <optional>
#include <utility>

#include "core/grid.h"

namespace corpgrid::core {

bool Grid::TakesWork(const Device& device) {
  const Condition& condition = device.condition;
  return condition.power != Power::kBattery && condition.closed.empty() && !device.row.drained;
}

void Grid::Wait(Device& device) {
  if (TakesWork(device)) {
    waiting_.Insert(device.row.id, device.row, StandingOf(device).Score(config_.weights));
  } else {
    waiting_.Erase(device.row.id);
  }
}

void Grid::StopWaiting(Device& device) {
  device.wants = 0;
  waiting_.Erase(device.row.id);
}

void Grid::Offer(Device& device, Effects* effects) {
  const size_t before = effects->leases.size();
  Match(device, effects);
  if (effects->leases.size() == before) {
    Wait(device);
  } else {
    StopWaiting(device);
  }
}

void Grid::GiveNewWork(Effects* effects) {
  SettleProjects();
  while (!new_work_.empty()) {
    const auto first = new_work_.begin();
    const auto rank = first->second.begin();
    Job* job = FindJob(rank->job);
    // Where several projects have new work, each turn is one shard.
    const uint32_t limit = new_work_.size() > 1 ? 1 : kMaxPollShards;
    if (!job || !MatchWaiting(*job, limit, effects)) {
      first->second.erase(rank);
      if (first->second.empty()) new_work_.erase(first);
    }
    SettleProjects();
  }
}

bool Grid::MatchWaiting(Job& job, uint32_t limit, Effects* effects) {
  if (!job.queued || waiting_.empty() ||
      Room(job.project->row, job.project->used, Amounts::Of(job.want)) == 0) {
    return false;
  }
  Device* device = BestWaiting(job);
  if (!device) return false;
  // What is there is spread over those that wait.
  const auto waiting = static_cast<uint32_t>(waiting_.size());
  const uint32_t share = std::max(1u, (FreshFor(job, *device) + waiting - 1) / waiting);
  LeaseFrom(job, *device, std::min({device->wants, share, limit}), effects);
  StopWaiting(*device);  // What it got answers its poll; it will ask again.
  return true;
}

void Grid::Match(Device& device, Effects* effects) {
  if (!TakesWork(device)) return;
  Turn after;
  std::map<Turn, Rank> from;  // where to go on in a project that gave something, by its turn
  size_t left = kMaxScanned;
  while (left > 0 && device.wants > 0 && device.leases.size() < kMaxLeasesPerDevice) {
    SettleProjects();
    Project* project = turns_.Next(device.row, after);
    if (!project) return;
    const bool alone = !turns_.Next(device.row, project->turn);
    auto at = from.extract(project->turn);
    Rank rank = at ? at.mapped() : Rank();
    if (LeaseFirst(*project, device, alone ? device.wants : 1, &rank, &left, effects)) {
      SettleProjects();  // Its share has grown, so it is still behind `after`.
      from[project->turn] = rank;
    } else {
      after = project->turn;
    }
  }
  if (left == 0) Sweep(device, effects);
}

bool Grid::LeaseFirst(const Project& project, Device& device, uint32_t limit, Rank* from,
                      size_t* left, Effects* effects) {
  while (*left > 0) {
    const std::optional<Rank> next = project.queue.Next(device.row, *from);
    if (!next) return false;
    --*left;
    Job& job = jobs_.at(next->job);
    const size_t before = device.leases.size();
    if (PausedUntilMs(job, device.row.id) <= meta_.time_ms) LeaseFrom(job, device, limit, effects);
    const size_t leased = device.leases.size() - before;
    if (leased < limit) *from = *next;  // It has no more for this device.
    if (leased > 0) return true;
  }
  return false;
}

void Grid::Sweep(Device& device, Effects* effects) {
  const auto start = projects_.lower_bound(device.swept_project);
  const bool same = start != projects_.end() && start->first == device.swept_project;
  Rank from = same ? device.swept : Rank();
  size_t left = kMaxScanned;
  for (auto it = start; it != projects_.end(); ++it, from = Rank()) {
    while (device.wants > 0 && device.leases.size() < kMaxLeasesPerDevice &&
           LeaseFirst(it->second, device, device.wants, &from, &left, effects)) {
    }
    if (left <= 1 || device.wants == 0) {
      device.swept_project = it->first;
      device.swept = from;
      return;
    }
    --left;  // for looking at the project
  }
  device.swept_project.clear();
}

Grid::Live::iterator Grid::FindOpen(Job& job, const Device& device) {
  if (device.row.trusted) {
    // Nobody else can do these, and results wait for them.
    const std::set<uint32_t>& wanted =
        job.audits.empty() && job.checks_all() ? job.held : job.audits;
    size_t left = kMaxScanned;
    for (auto index = wanted.begin(); index != wanted.end() && left > 0; ++index, --left) {
      const auto shard = job.live.find(*index);
      if (device.suspects == 0 || shard->second.row.died_on.empty()) return shard;
    }
  } else if (job.trusted_only()) {
    return job.live.end();
  }
  const Party party = PartyOf(job, device);
  Live::iterator best = job.live.end();
  double best_diversity = -1;
  size_t scanned = 0, candidates = 0;
  for (const auto& [parties, shards] : job.open) {
    if (++scanned > kMaxScanned || candidates == kMaxCandidates) break;
    // A trusted device's result decides, whoever else takes part.
    const bool takes_part = std::binary_search(parties.begin(), parties.end(), party);
    if (takes_part && !device.row.trusted) continue;
    const auto shard = job.live.find(*shards.begin());
    // Should the device die, one shard shall be to blame.
    if (device.suspects > 0 && !shard->second.row.died_on.empty()) continue;
    if (device.row.trusted && HasTrusted(shard->second)) continue;
    ++candidates;
    const double diversity = Diversity(shard->second, device);
    if (diversity <= best_diversity) continue;
    best = shard;
    best_diversity = diversity;
  }
  return best;
}

}  // namespace corpgrid::core
