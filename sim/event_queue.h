#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

namespace corpgrid::sim {

enum class EventKind : uint8_t {
  kArrival,    // message `data` reaches its receiver
  kAgentWake,  // agent `actor` has something to do
  kUserWake,
  kBatch,  // the scheduler takes the commands that wait
  kTick,
  kCompared,  // the scheduler knows the answer to its question `data`
  kSchedulerStart,
  kTrouble,  // the moment to throw dice for what strikes by itself
};

struct Event {
  int64_t time_ms = 0;
  uint64_t order = 0;  // of events at the same time: the order in which they were added
  EventKind kind = EventKind::kTick;
  uint32_t actor = 0;
  uint64_t data = 0;
};

// What is going to happen, the earliest first.
class EventQueue {
 public:
  void Add(int64_t time_ms, EventKind kind, uint32_t actor = 0, uint64_t data = 0) {
    heap_.push_back({std::max(time_ms, now_ms_), ++added_, kind, actor, data});
    std::push_heap(heap_.begin(), heap_.end(), Later);
  }

  // Takes the next event; time is its time from now on. There must be one.
  Event Take() {
    std::pop_heap(heap_.begin(), heap_.end(), Later);
    const Event event = heap_.back();
    heap_.pop_back();
    now_ms_ = event.time_ms;
    return event;
  }

  bool empty() const { return heap_.empty(); }
  int64_t now_ms() const { return now_ms_; }

 private:
  static bool Later(const Event& a, const Event& b) {
    return a.time_ms != b.time_ms ? a.time_ms > b.time_ms : a.order > b.order;
  }

  std::vector<Event> heap_;
  int64_t now_ms_ = 0;
  uint64_t added_ = 0;
};

}  // namespace corpgrid::sim
