#pragma once

#include <cstdint>
#include <functional>
#include <optional>

namespace corpgrid::sim {

// What the scheduler's state is kept in.
enum class StoreKind : uint8_t {
  kMemory,  // rows in maps: quick
  kSqlite,  // the daemon's SQLite store, on a disk in memory that tears and loses writes
};

// What a run is like. The same options give the same run.
struct Options {
  uint64_t seed = 1;
  // How long there are faults: simulated time or events, whichever ends first; 0 is no bound. A
  // calm phase follows, until all is done.
  int64_t fault_ms = 0;
  uint64_t fault_events = 0;
  uint32_t devices = 64;
  StoreKind store = StoreKind::kMemory;
  bool faults = true;
  // A world of this share of liars and otherwise without faults, to see what jobs are told of their
  // results; colluding ones tell the same lies.
  std::optional<double> liars = {};
  bool colluding = false;
  // Called now and then with what was done so far.
  std::function<void(uint64_t events, int64_t now_ms)> progress;
};

}  // namespace corpgrid::sim
