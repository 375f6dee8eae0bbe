#pragma once

#include <algorithm>
#include <atomic>
#include <memory>

#include "corpgrid/v1/worker.pb.h"
#include "resources/resource_manager.h"

namespace corpgrid::worker {

// How much of a worker's memory one answer needs, how much is there for answers, and how many wait
// for their turn before the worker hears of them. Any thread.
class AnswerRoom {
 public:
  void Loaded(const corpgrid::v1::LoadResponse& loaded) {
    all_ = loaded.estimate().kv_bytes();
    free_ = all_.load();
    each_ = all_ / std::max(1u, loaded.sequences());
  }

  void Update(const corpgrid::v1::GetStatsResponse& stats) {
    const uint64_t cells = std::max(1u, stats.all_cells());
    free_ = all_ / cells * (cells - std::min<uint64_t>(cells, stats.used_cells()));
  }

  // Of a request for so many answers.
  void Tell(uint32_t answers, resources::ResourceManager::Request* request) const {
    request->estimated_bytes = std::min<uint64_t>(all_, each_ * std::max(1u, answers));
    request->available_bytes = free_;
  }

  void Waits() { ++waiting_; }
  void WaitsNoMore() { --waiting_; }
  uint32_t waiting() const { return waiting_; }

 private:
  std::atomic<uint64_t> all_ = 0, free_ = 0, each_ = 0;
  std::atomic<uint32_t> waiting_ = 0;
};

}  // namespace corpgrid::worker
