#pragma once

#include <cstdint>
#include <vector>

#include "sim/digest.h"
#include "sim/event_queue.h"
#include "sim/faults.h"
#include "sim/messages.h"

namespace corpgrid::sim {

// Carries messages, late, twice or not at all. Of a node's messages to and from the scheduler each
// direction can be cut by itself.
class Network {
 public:
  // All must outlive the network. The first `agents` nodes can be cut off.
  Network(uint64_t seed, uint32_t agents, EventQueue* events, Faults* faults)
      : random_(seed), events_(events), faults_(faults), cut_(agents) {}

  void Send(Message message);

  // What has arrived as message `index`, which is free again.
  Message Take(uint64_t index);

  void CutToScheduler(uint32_t agent, int64_t until_ms) { cut_[agent].to_ms = until_ms; }
  void CutFromScheduler(uint32_t agent, int64_t until_ms) { cut_[agent].from_ms = until_ms; }
  void HealAll() { cut_.assign(cut_.size(), {}); }

 private:
  struct Cut {
    int64_t to_ms = 0;
    int64_t from_ms = 0;
  };

  void Deliver(Message message);

  Random random_;
  EventQueue* const events_;
  Faults* const faults_;
  std::vector<Cut> cut_;
  std::vector<Message> messages_;
  std::vector<uint64_t> free_;
};

}  // namespace corpgrid::sim
