#pragma once

#include <algorithm>
#include <cstdint>
#include <deque>
#include <utility>
#include <vector>

#include "base/ids.h"

namespace corpgrid::core {

// A device's deaths of late, each with the shards that ran.
class Deaths {
 public:
  static constexpr int64_t kWindowMs = 600'000;  // what is longer ago does not matter
  static constexpr size_t kMaxKept = 16;

  void Add(int64_t now_ms, std::vector<ShardId> shards) {
    deaths_.push_back({now_ms, std::move(shards)});
    while (deaths_.size() > kMaxKept || now_ms - deaths_.front().time_ms > kWindowMs) {
      deaths_.pop_front();
    }
  }

  // Whether `shard` ran in each of them: then it may be the cause.
  bool AllWith(ShardId shard) const {
    return std::all_of(deaths_.begin(), deaths_.end(), [&](const Death& death) {
      return std::find(death.shards.begin(), death.shards.end(), shard) != death.shards.end();
    });
  }

 private:
  struct Death {
    int64_t time_ms = 0;
    std::vector<ShardId> shards;
  };
  std::deque<Death> deaths_;  // the oldest first
};

}  // namespace corpgrid::core
