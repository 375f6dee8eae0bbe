#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "core/commands.h"
#include "store/durable_grid.h"

namespace corpgrid::sim {

using Body = store::DurableGrid::Body;

// What a device signed about a result, instead of a real signature: a real one costs more than the
// rest of the event. It verifies when it names what was handed in and the forger was the key's
// owner.
struct Signature {
  uint32_t signer = 0;  // the agent whose key made it
  AttemptId attempt;
  std::string lease_token;
  bool tampered = false;  // the bytes are no signature of this
  bool staged = true;     // the outputs were uploaded before
};

// A call of an agent or a person.
struct Request {
  uint32_t node = 0;  // who calls: agents first, then people
  uint64_t call = 0;  // names the call for its caller
  uint64_t session = 0;
  int64_t wait_ms = 0;  // how long a poll may wait
  Body body;
  std::vector<Signature> signatures;  // one for each result in `body`
};

struct Answer {
  uint32_t node = 0;
  uint64_t call = 0;
  uint64_t session = 0;  // that a registration opened
  core::Reply reply;
  std::vector<core::Lease> leases;
  std::optional<core::JobProgressRow> progress;  // of the job that was asked for, from the store
};

using Message = std::variant<Request, Answer>;

}  // namespace corpgrid::sim
