#include "store/durable_grid.h"

#include <algorithm>
#include <iterator>
#include <utility>

#include "base/status_macros.h"

namespace corpgrid::store {
namespace {

template <typename Row>
void AppendRows(std::vector<Row>* to, std::vector<Row>&& from) {
  to->insert(to->end(), std::make_move_iterator(from.begin()), std::make_move_iterator(from.end()));
}

// The last row of a key is the one that counts; earlier ones would be written for nothing.
template <typename Row, typename Key>
void KeepLast(std::vector<Row>* rows, Key Row::* key) {
  std::stable_sort(rows->begin(), rows->end(),
                   [&](const Row& a, const Row& b) { return a.*key < b.*key; });
  auto out = rows->begin();
  for (auto it = rows->begin(); it != rows->end(); ++it) {
    if (std::next(it) != rows->end() && (*std::next(it)).*key == (*it).*key) continue;
    if (out != it) *out = std::move(*it);
    ++out;
  }
  rows->erase(out, rows->end());
}

void Merge(core::WriteBatch* to, core::WriteBatch&& from) {
  AppendRows(&to->join_tokens, std::move(from.join_tokens));
  AppendRows(&to->devices, std::move(from.devices));
  AppendRows(&to->reputations, std::move(from.reputations));
  AppendRows(&to->projects, std::move(from.projects));
  AppendRows(&to->models, std::move(from.models));
  AppendRows(&to->jobs, std::move(from.jobs));
  AppendRows(&to->job_progress, std::move(from.job_progress));
  AppendRows(&to->shards, std::move(from.shards));
  AppendRows(&to->attempts, std::move(from.attempts));
  AppendRows(&to->results, std::move(from.results));
  AppendRows(&to->checkpoints, std::move(from.checkpoints));
  AppendRows(&to->forgotten_checkpoints, std::move(from.forgotten_checkpoints));
  AppendRows(&to->audit, std::move(from.audit));
  AppendRows(&to->forgotten_shards, std::move(from.forgotten_shards));
  AppendRows(&to->forgotten_jobs, std::move(from.forgotten_jobs));
}

}  // namespace

absl::StatusOr<std::unique_ptr<DurableGrid>> DurableGrid::Load(const core::GridConfig& config,
                                                               Store* store, const Clock* clock,
                                                               Seeds seeds) {
  std::unique_ptr<DurableGrid> grid(new DurableGrid(config, store, clock, std::move(seeds)));
  RETURN_IF_ERROR(grid->Reload().status());
  return grid;
}

std::vector<core::Effects> DurableGrid::Apply(std::vector<Body> bodies) {
  core::Command command;
  command.time_ms = GridTimeMs();
  command.wall_ms = clock_->WallMs();
  std::vector<core::Effects> all;
  all.reserve(bodies.size());
  for (Body& body : bodies) {
    command.seed = seeds_();
    command.body = std::move(body);
    core::Effects& effects = all.emplace_back(grid_->Apply(command));
    Merge(&rows_, std::exchange(effects.rows, {}));
  }
  return all;
}

absl::Status DurableGrid::Commit() {
  core::WriteBatch rows = std::exchange(rows_, {});
  if (stale_) return absl::UnavailableError("the grid's state was not read back from the store");
  if (rows.empty()) return absl::OkStatus();
  KeepLast(&rows.job_progress, &core::JobProgressRow::id);
  KeepLast(&rows.reputations, &core::ReputationRow::device);
  KeepLast(&rows.projects, &core::ProjectRow::name);
  KeepLast(&rows.models, &core::ModelRow::name);
  KeepLast(&rows.shards, &core::ShardRow::id);
  KeepLast(&rows.attempts, &core::AttemptRow::id);
  rows.meta = grid_->meta();
  rows.meta->batch = committed_.batch + 1;
  tried_ = *rows.meta;
  absl::Status status = store_->Commit(rows);
  if (status.ok()) committed_ = tried_;
  stale_ = !status.ok();
  return status;
}

// What was not signed yet, nobody but this object can tell from what somebody else has written.
absl::Status DurableGrid::CheckTree(const core::MetaRow& stored) const {
  for (const core::MetaRow* known : {&committed_, &tried_}) {
    if (stored.batch != known->batch) continue;
    if (stored.audit_size == known->audit_size && stored.audit_frontier == known->audit_frontier) {
      continue;
    }
    return absl::DataLossError(
        "the audit log's tree in the store is not the one that was committed: somebody else wrote "
        "there; restore the store from a backup");
  }
  return absl::OkStatus();
}

absl::StatusOr<bool> DurableGrid::Reload() {
  if (!grid_) {
    ASSIGN_OR_RETURN(grid_, store_->LoadBuilt());
    if (grid_) {  // At the grid time that was committed last, from which it goes on.
      committed_ = grid_->meta();
      time_offset_ms_ = committed_.time_ms - clock_->MonotonicMs();
      return false;
    }
  }
  ASSIGN_OR_RETURN(core::Snapshot snapshot, store_->Load());
  const core::MetaRow stored = snapshot.meta;
  if (grid_) RETURN_IF_ERROR(CheckTree(stored));
  // Grid time never goes back, whatever the machine's clock did while the scheduler was down.
  int64_t reached_ms = snapshot.meta.time_ms;
  if (grid_) reached_ms = std::max(reached_ms, grid_->meta().time_ms);
  const int64_t offset_ms = std::max(time_offset_ms_, reached_ms - clock_->MonotonicMs());
  snapshot.meta.time_ms = clock_->MonotonicMs() + offset_ms;
  ASSIGN_OR_RETURN(core::Grid grid, core::Grid::Load(config_, std::move(snapshot)));
  grid_ = std::make_unique<core::Grid>(std::move(grid));
  time_offset_ms_ = offset_ms;
  rows_ = {};
  stale_ = false;
  return std::exchange(committed_, stored).batch + 1 == stored.batch;
}

}  // namespace corpgrid::store
